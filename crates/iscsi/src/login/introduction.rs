//! Who an initiator says it is, and what it wants: the beginning of a login (RFC 7143 section 6.3).

use super::{Inquiry, Refusal};
use crate::name::IscsiName;
use crate::numbers::Isid;
use crate::parameters::SessionType;
use crate::text;

/// Characters of an initiator's alias that are kept.
const ALIAS_LENGTH_MAX: usize = 255;

impl Inquiry {
    /// What the session is to be.
    pub const fn session_type(&self) -> SessionType {
        match self.target {
            Some(_) => SessionType::Normal,
            None => SessionType::Discovery,
        }
    }
}

/// Who the initiator is and what it wants.
pub(super) fn introduction(text: &[u8], isid: Isid) -> Result<Inquiry, Refusal> {
    let pairs = text::parse(text)?;
    let value = |key| pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
    let initiator = value("InitiatorName").ok_or(Refusal::Missing("InitiatorName"))?;
    let target = match value("SessionType") {
        Some("Discovery") => None,
        None | Some("Normal") => {
            let name = value("TargetName").ok_or(Refusal::Missing("TargetName"))?;
            Some(IscsiName::parse(name).map_err(|_| Refusal::NotFound)?)
        }
        Some(_) => return Err(Refusal::SessionType),
    };
    let plain =
        |alias: &str| alias.chars().filter(|c| !c.is_control()).take(ALIAS_LENGTH_MAX).collect();
    Ok(Inquiry {
        initiator: IscsiName::parse(initiator).map_err(Refusal::InitiatorName)?,
        alias: value("InitiatorAlias").map(plain),
        target,
        isid,
    })
}
