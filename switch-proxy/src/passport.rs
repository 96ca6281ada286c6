//! What a worker leaves of a connection for its successor, which may be another version of it: JSON.

use anyhow::{Context, Result, ensure};
use blockferry_block::SessionId;
use blockferry_device::{DeviceInfo, Features};
use blockferry_nbd_session::{Negotiated, Style};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Grows when an older reader would misunderstand what is written. Fields may be added without.
const VERSION: u32 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Passport {
    version: u32,
    /// The route.
    pub(crate) route: String,
    session: String,
    style: WireStyle,
    allocation_context: Option<u32>,
    /// Whether a storage program has accepted the session's role.
    pub(crate) roles_known: bool,
    device: Promised,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireStyle {
    Simple,
    Structured,
    Extended,
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Promised {
    size: u64,
    block_size_min: u32,
    block_size_preferred: u32,
    payload_max: u32,
    read_only: bool,
    flush: bool,
    fua: bool,
    trim: bool,
    write_zeroes: bool,
    fast_zero: bool,
    cache: bool,
    block_status: bool,
    multi_conn: bool,
    rotational: bool,
}

impl Passport {
    /// For a client of this route.
    pub(crate) fn new(
        route: &str,
        session: SessionId,
        roles_known: bool,
        info: &DeviceInfo,
        negotiated: Negotiated,
    ) -> Self {
        Self {
            version: VERSION,
            route: route.to_owned(),
            session: session.to_string(),
            style: negotiated.style.into(),
            allocation_context: negotiated.allocation_context,
            roles_known,
            device: info.into(),
        }
    }

    /// As it is left with the keeper.
    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain fields are JSON").into()
    }

    /// As another process has left it.
    ///
    /// # Errors
    /// When that was a version that this one does not understand.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let passport: Self = serde_json::from_slice(bytes).context("the pass of a connection")?;
        let version = passport.version;
        ensure!(
            version <= VERSION,
            "the pass of a connection has version {version}, not {VERSION}"
        );
        Ok(passport)
    }

    /// The client's session.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn session(&self) -> Result<SessionId> {
        self.session.parse().context("the session of a connection")
    }

    /// What the client was told.
    pub(crate) fn info(&self) -> DeviceInfo {
        (&self.device).into()
    }

    /// What the client has negotiated.
    pub(crate) fn negotiated(&self) -> Negotiated {
        let (style, allocation_context) = (self.style.into(), self.allocation_context);
        Negotiated { style, allocation_context }
    }
}

impl From<Style> for WireStyle {
    fn from(style: Style) -> Self {
        match style {
            Style::Simple => Self::Simple,
            Style::Structured => Self::Structured,
            Style::Extended => Self::Extended,
        }
    }
}

impl From<WireStyle> for Style {
    fn from(style: WireStyle) -> Self {
        match style {
            WireStyle::Simple => Self::Simple,
            WireStyle::Structured => Self::Structured,
            WireStyle::Extended => Self::Extended,
        }
    }
}

impl From<&DeviceInfo> for Promised {
    fn from(info: &DeviceInfo) -> Self {
        let &DeviceInfo { size, features, block_size_min, block_size_preferred, payload_max } =
            info;
        let Features { read_only, flush, fua, trim, write_zeroes, .. } = features;
        let Features { fast_zero, cache, block_status, multi_conn, rotational, .. } = features;
        Self {
            size,
            block_size_min,
            block_size_preferred,
            payload_max,
            read_only,
            flush,
            fua,
            trim,
            write_zeroes,
            fast_zero,
            cache,
            block_status,
            multi_conn,
            rotational,
        }
    }
}

impl From<&Promised> for DeviceInfo {
    fn from(promised: &Promised) -> Self {
        Self {
            size: promised.size,
            block_size_min: promised.block_size_min,
            block_size_preferred: promised.block_size_preferred,
            payload_max: promised.payload_max,
            features: Features {
                read_only: promised.read_only,
                flush: promised.flush,
                fua: promised.fua,
                trim: promised.trim,
                write_zeroes: promised.write_zeroes,
                fast_zero: promised.fast_zero,
                cache: promised.cache,
                block_status: promised.block_status,
                multi_conn: promised.multi_conn,
                rotational: promised.rotational,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passport(style: Style, allocation_context: Option<u32>) -> Passport {
        let features = Features { trim: true, multi_conn: true, ..Features::default() };
        let info = DeviceInfo { block_size_min: 512, ..DeviceInfo::new(1 << 40, features) };
        let session = SessionId::from_bytes([7; 16]);
        Passport::new("vol", session, true, &info, Negotiated { style, allocation_context })
    }

    #[test]
    fn a_pass_says_all_that_was_agreed_with_the_client() {
        for style in [Style::Simple, Style::Structured, Style::Extended] {
            let left = passport(style, Some(1));
            let found = Passport::decode(&left.encode()).unwrap();
            assert_eq!(found, left);
            assert_eq!(found.negotiated(), Negotiated { style, allocation_context: Some(1) });
            assert_eq!((found.info().size, found.info().block_size_min), (1 << 40, 512));
            assert!(found.info().features.trim && !found.info().features.flush);
            assert_eq!(found.session().unwrap(), SessionId::from_bytes([7; 16]));
        }
    }

    #[test]
    fn a_pass_fits_where_it_is_kept_whatever_the_route_is_called() {
        let long = "x".repeat(blockferry_block::VolumeName::LENGTH_MAX);
        let passport = Passport { route: long, ..passport(Style::Extended, Some(1)) };
        assert!(passport.encode().len() < blockferry_keeper::PASS_BYTES_MAX / 2);
    }

    #[test]
    fn what_a_later_version_adds_is_ignored_and_what_it_changes_refused() {
        let mut json: serde_json::Value =
            serde_json::from_slice(&passport(Style::Simple, None).encode()).unwrap();
        json["more"] = "of it".into();
        Passport::decode(json.to_string().as_bytes()).unwrap();
        json["version"] = 2.into();
        let refused = Passport::decode(json.to_string().as_bytes()).unwrap_err().to_string();
        assert!(refused.contains("version 2, not 1"), "{refused}");
    }
}
