//! Which target a volume is.

use blockferry_iscsi::IscsiName;

/// What a target's name begins with; the volume's name follows.
const TARGET_PREFIX: &str = "iqn.2026-01.io.blockferry:";

/// The name of a volume's target; `None` for a volume with characters that no target's name has. A
/// target's name has no upper case.
pub fn target_of(volume: &str) -> Option<IscsiName> {
    IscsiName::parse(&format!("{TARGET_PREFIX}{}", volume.to_ascii_lowercase())).ok()
}

/// Whether this is the target of that volume.
pub fn is_target_of(target: &IscsiName, volume: &str) -> bool {
    let name = target.as_str().strip_prefix(TARGET_PREFIX);
    name.is_some_and(|name| name == volume.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_found_by_the_name_of_its_target() {
        let target = target_of("Data-1").unwrap();
        assert_eq!(target.as_str(), "iqn.2026-01.io.blockferry:data-1");
        assert!(is_target_of(&target, "Data-1"));
        assert!(!is_target_of(&target, "Data-2"));
        assert!(!is_target_of(&IscsiName::parse("iqn.2026-01.example:data-1").unwrap(), "data-1"));
    }
}
