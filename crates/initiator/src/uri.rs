//! Disks by their names on a command line, as libiscsi has them.

use std::fmt;
use std::str::FromStr;

use blockferry_iscsi::{IscsiName, PortalAddress};

/// A disk: `iscsi://HOST[:PORT]/TARGET/0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskUri {
    /// Where its target is.
    pub portal: PortalAddress,
    /// The target.
    pub target: IscsiName,
}

/// A text that names no disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no disk: expected iscsi://HOST[:PORT]/TARGET/0")]
pub struct BadDiskUri(String);

impl FromStr for DiskUri {
    type Err = BadDiskUri;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (portal, disk) = text.strip_prefix("iscsi://")?.split_once('/')?;
            let target = disk.strip_suffix("/0")?;
            let target = IscsiName::parse(target).ok()?;
            Some(Self { portal: portal.parse().ok()?, target })
        };
        parse().ok_or_else(|| BadDiskUri(text.to_owned()))
    }
}

impl fmt::Display for DiskUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iscsi://{}/{}/0", self.portal, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_reads_back_what_it_printed_and_nothing_else_is_one() {
        let text = "iscsi://192.0.2.1:3261/iqn.2026-01.io.blockferry:vol/0";
        let disk: DiskUri = text.parse().unwrap();
        assert_eq!(disk.to_string(), text);
        for text in ["", "iscsi://h", "iscsi://h/t/0", "iscsi://h/iqn.2026-01.x:y/1", "nbd://h/v"] {
            assert!(text.parse::<DiskUri>().is_err(), "{text:?} was accepted");
        }
    }
}
