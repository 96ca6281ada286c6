//! Where a volume is, and where it is about to go; as the journal keeps it.

use anyhow::{Context, Result};
use blockferry_block::Generation;
use blockferry_control::ControlAddress;
use blockferry_control::api::PartyAddress;
use blockferry_iscsi::PortalAddress;
use blockferry_nbd_session::NbdUri;
use serde::{Deserialize, Serialize};

/// The owner of a volume, as the switch knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    /// The volume.
    #[serde(with = "text")]
    pub(crate) upstream: NbdUri,
    /// The owner's generation; zero where none is known.
    pub(crate) generation: u64,
    /// The owner's control address, where it is known.
    pub(crate) control: Option<ControlAddress>,
    /// Where the owner serves iSCSI, where it does and that is known.
    #[serde(default, with = "optional_text")]
    pub(crate) iscsi: Option<PortalAddress>,
}

/// The destination of a migration that was announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Candidate {
    /// Identity of the migration.
    pub(crate) migration: String,
    /// The volume there.
    #[serde(with = "text")]
    pub(crate) upstream: NbdUri,
    /// Where it can be asked.
    pub(crate) control: ControlAddress,
    /// Where it serves iSCSI, where it does.
    #[serde(default, with = "optional_text")]
    pub(crate) iscsi: Option<PortalAddress>,
    /// Whether links to it are kept ready.
    pub(crate) standby: bool,
}

/// A route in the journal; the last record of a name counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RouteRecord {
    /// The name for clients.
    pub(crate) name: String,
    /// Where the volume is.
    pub(crate) placement: Placement,
    /// Where it may go.
    pub(crate) candidate: Option<Candidate>,
    /// It came from the settings, not over the control API.
    pub(crate) configured: bool,
}

impl Placement {
    /// A volume at an owner of which nothing else is known.
    pub(crate) const fn initial(upstream: NbdUri) -> Self {
        Self { upstream, generation: 0, control: None, iscsi: None }
    }

    /// The volume at a party.
    ///
    /// # Errors
    /// When an address of the party makes no sense.
    pub(crate) fn at(party: &PartyAddress, export: &str, generation: Generation) -> Result<Self> {
        Ok(Self {
            upstream: upstream(party, export)?,
            generation: generation.0,
            control: Some(control(party)?),
            iscsi: portal(party)?,
        })
    }
}

impl Candidate {
    /// The party, in the control API's terms.
    pub(crate) fn party(&self) -> PartyAddress {
        let server = NbdUri { export: String::new(), ..self.upstream.clone() };
        let iscsi = self.iscsi.as_ref().map(ToString::to_string);
        PartyAddress { nbd: server.to_string(), control: self.control.to_string(), iscsi }
    }
}

/// An export at a party.
///
/// # Errors
/// When the party's data address is no NBD URI.
pub(crate) fn upstream(party: &PartyAddress, export: &str) -> Result<NbdUri> {
    let server: NbdUri = party.nbd.parse().context("the data address of the party")?;
    Ok(NbdUri { export: export.to_owned(), ..server })
}

/// A party's control address.
///
/// # Errors
/// When it is none.
pub(crate) fn control(party: &PartyAddress) -> Result<ControlAddress> {
    party.control.parse().context("the control address of the party")
}

/// Where a party serves iSCSI, if it does.
///
/// # Errors
/// When that is no portal's address.
pub(crate) fn portal(party: &PartyAddress) -> Result<Option<PortalAddress>> {
    let portal = party.iscsi.as_deref().map(str::parse).transpose();
    portal.context("the iSCSI address of the party")
}

/// NBD URIs as text.
mod text {
    use blockferry_nbd_session::NbdUri;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(uri: &NbdUri, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(uri)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NbdUri, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// Portals' addresses as text.
mod optional_text {
    use blockferry_iscsi::PortalAddress;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        portal: &Option<PortalAddress>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        portal.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PortalAddress>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse()).transpose().map_err(de::Error::custom)
    }
}
