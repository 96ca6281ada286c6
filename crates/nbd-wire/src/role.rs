//! The private option that says what a connection may do in a migration.

use blockferry_block::{BootId, ClaimEpoch, Generation, MigrationId, SessionId, Token};
use blockferry_wire::Fields;
use bytes::BufMut;

use crate::limits::ARRANGEMENT_BYTES_MAX;
use crate::option_data::{BadOption, check_version, put_version};
use crate::text;

/// Flag: the connection is kept warm for later and carries no request yet.
const FLAG_STANDBY: u8 = 1 << 0;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The user's own requests.
    Client,
    /// The ordered copy.
    Copy,
    /// The source's writes before the commit.
    Mirror,
    /// The source's requests after the commit.
    Forward,
}

/// A claim to a [`Role`], bound to the connection on which it was acknowledged. The export it
/// speaks of is the one that `GO` names later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleClaim {
    /// What the connection is for.
    pub role: Role,
    /// The connection is kept warm and carries no request yet.
    pub standby: bool,
    /// The migration that it belongs to.
    pub migration: MigrationId,
    /// The migration's secret.
    pub token: Token,
    /// The client connection on whose behalf it was opened.
    pub session: SessionId,
    /// How often that session's path has been opened.
    pub generation: Generation,
    /// The run of the source as the claimant knows it.
    pub source_boot: BootId,
    /// The run of the destination as the claimant knows it.
    pub destination_boot: BootId,
    /// The epoch of the claims that a copy connection carries.
    pub claim_epoch: ClaimEpoch,
    /// The control address to which arrangement information may be sent; may be empty. At most
    /// [`ARRANGEMENT_BYTES_MAX`] bytes; what is longer is cut when it is sent.
    pub arrangement: String,
}

impl Role {
    const fn code(self) -> u8 {
        match self {
            Self::Client => 0,
            Self::Copy => 1,
            Self::Mirror => 2,
            Self::Forward => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Client),
            1 => Some(Self::Copy),
            2 => Some(Self::Mirror),
            3 => Some(Self::Forward),
            _ => None,
        }
    }
}

impl RoleClaim {
    /// The option's data, big-endian: version, role, flags, migration, token, session, generation,
    /// boot ids of source and destination, claim epoch, arrangement address with its length.
    pub fn encode(&self, out: &mut impl BufMut) {
        put_version(out);
        out.put_u8(self.role.code());
        out.put_u8(if self.standby { FLAG_STANDBY } else { 0 });
        out.put_slice(self.migration.as_bytes());
        out.put_slice(self.token.as_bytes());
        out.put_slice(self.session.as_bytes());
        out.put_u64(self.generation.0);
        out.put_u64(self.source_boot.0);
        out.put_u64(self.destination_boot.0);
        out.put_u64(self.claim_epoch.0);
        let arrangement = text::clip(&self.arrangement, ARRANGEMENT_BYTES_MAX).as_bytes();
        out.put_u16(u16::try_from(arrangement.len()).unwrap_or(u16::MAX));
        out.put_slice(arrangement);
    }

    pub(crate) fn decode(data: &[u8]) -> Result<Self, BadOption> {
        let mut fields = Fields::new(data);
        check_version(&mut fields)?;
        let role = fields.u8()?;
        let flags = fields.u8()?;
        let claim = Self {
            role: Role::from_code(role).ok_or(BadOption::Role(role))?,
            standby: flags & FLAG_STANDBY != 0,
            migration: MigrationId::from_bytes(fields.array()?),
            token: Token::from_bytes(fields.array()?),
            session: SessionId::from_bytes(fields.array()?),
            generation: Generation(fields.u64()?),
            source_boot: BootId(fields.u64()?),
            destination_boot: BootId(fields.u64()?),
            claim_epoch: ClaimEpoch(fields.u64()?),
            arrangement: decode_arrangement(&mut fields)?,
        };
        if flags & !FLAG_STANDBY != 0 {
            return Err(BadOption::Flags(flags));
        }
        if fields.is_empty() { Ok(claim) } else { Err(BadOption::TooLong) }
    }
}

fn decode_arrangement(fields: &mut Fields<'_>) -> Result<String, BadOption> {
    let length = usize::from(fields.u16()?);
    if length > ARRANGEMENT_BYTES_MAX {
        return Err(BadOption::Arrangement);
    }
    Ok(text::parse(fields.bytes(length)?)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> RoleClaim {
        RoleClaim {
            role: Role::Mirror,
            standby: true,
            migration: MigrationId::from_bytes([1; 16]),
            token: Token::from_bytes([2; 32]),
            session: SessionId::from_bytes([3; 16]),
            generation: Generation(4),
            source_boot: BootId(5),
            destination_boot: BootId(6),
            claim_epoch: ClaimEpoch(7),
            arrangement: "http://127.0.0.1:1".to_owned(),
        }
    }

    fn encoded(claim: &RoleClaim) -> Vec<u8> {
        let mut data = Vec::new();
        claim.encode(&mut data);
        data
    }

    #[test]
    fn a_claim_reads_back_as_it_was_written() {
        assert_eq!(RoleClaim::decode(&encoded(&claim())), Ok(claim()));
    }

    #[test]
    fn a_claim_has_the_layout_that_other_programs_rely_on() {
        let data = encoded(&claim());
        assert_eq!(data[..4], [0, 1, 2, 1]);
        assert_eq!(data[4..20], [1; 16]);
        assert_eq!(data[20..52], [2; 32]);
        assert_eq!(data[52..68], [3; 16]);
        assert_eq!(data[68..76], 4_u64.to_be_bytes());
        assert_eq!(data[92..100], 7_u64.to_be_bytes());
        assert_eq!(data[100..102], 18_u16.to_be_bytes());
        assert_eq!(&data[102..], b"http://127.0.0.1:1");
    }

    #[test]
    fn a_claim_cut_anywhere_is_refused() {
        let data = encoded(&claim());
        for end in 0..data.len() {
            assert_eq!(RoleClaim::decode(&data[..end]), Err(BadOption::TooShort), "cut at {end}");
        }
    }

    #[test]
    fn a_claim_with_more_bytes_than_fields_is_refused() {
        let mut data = encoded(&claim());
        data.push(0);
        assert_eq!(RoleClaim::decode(&data), Err(BadOption::TooLong));
    }

    #[test]
    fn unknown_versions_roles_and_flags_are_refused() {
        let mut data = encoded(&claim());
        data[1] = 2;
        assert_eq!(RoleClaim::decode(&data), Err(BadOption::Version(2)));
        data[1] = 1;
        data[2] = 4;
        assert_eq!(RoleClaim::decode(&data), Err(BadOption::Role(4)));
        data[2] = 0;
        data[3] = 2;
        assert_eq!(RoleClaim::decode(&data), Err(BadOption::Flags(2)));
    }

    #[test]
    fn an_arrangement_address_beyond_its_limit_is_refused() {
        let mut data = encoded(&RoleClaim { arrangement: String::new(), ..claim() });
        data.truncate(100);
        data.extend(513_u16.to_be_bytes());
        data.extend([b'a'; 513]);
        assert_eq!(RoleClaim::decode(&data), Err(BadOption::Arrangement));
    }
}
