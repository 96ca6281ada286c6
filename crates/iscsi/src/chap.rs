//! CHAP with MD5: proof of a secret that both sides know (RFC 1994, RFC 7143 section 12.1.3).
//!
//! Whoever asks makes up a challenge, which here comes from the caller; whoever answers digests it
//! with the secret. With another secret the same can be done the other way around.

use std::fmt;

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use crate::binary;
use crate::limits::BINARY_BYTES_MAX;

/// `CHAP_A` of MD5, the one algorithm that everybody speaks.
pub(crate) const MD5: &str = "5";
/// A digest, in bytes.
const RESPONSE_BYTES: usize = 16;
/// A challenge of ours, in bytes: as much as any digest of CHAP.
const CHALLENGE_BYTES: usize = 32;
/// A secret below 96 bits is weak without other protection (RFC 7143 section 9.2.1), in bytes.
const STRONG_BYTES_MIN: usize = 12;

/// A secret, which is never printed.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Why bytes are no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// Fewer than 12 bytes.
    #[error("a CHAP secret has fewer than {STRONG_BYTES_MIN} bytes (96 bits)")]
    Weak,
    /// Nothing at all, or too much.
    #[error("a CHAP secret has to have 1 to {BINARY_BYTES_MAX} bytes")]
    Length,
}

impl Secret {
    /// A secret of at least 96 bits.
    ///
    /// # Errors
    /// When it is shorter, or longer than any secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, BadSecret> {
        let secret = Self::even_weak(bytes)?;
        if secret.0.len() < STRONG_BYTES_MIN { Err(BadSecret::Weak) } else { Ok(secret) }
    }

    /// A secret of any length, for a connection that something else protects.
    ///
    /// # Errors
    /// When it is empty, or longer than any secret.
    pub fn even_weak(bytes: impl Into<Vec<u8>>) -> Result<Self, BadSecret> {
        let bytes = bytes.into();
        let fits = (1..=BINARY_BYTES_MAX).contains(&bytes.len());
        if fits { Ok(Self(bytes)) } else { Err(BadSecret::Length) }
    }

    /// The answer to the challenge (RFC 1994 section 4.1).
    pub fn respond(&self, identifier: u8, challenge: &[u8]) -> [u8; RESPONSE_BYTES] {
        let mut digest = Md5::new();
        digest.update([identifier]);
        digest.update(&self.0);
        digest.update(challenge);
        digest.finalize().into()
    }

    fn is(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A name and its secret.
#[derive(Clone, Debug)]
pub struct Account {
    /// `CHAP_N`
    pub name: String,
    /// Known to both sides.
    pub secret: Secret,
}

/// What a target asks, made anew for every login from the system's randomness.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// `CHAP_I`
    pub identifier: u8,
    /// `CHAP_C`
    pub bytes: [u8; CHALLENGE_BYTES],
}

/// What a login needs to authenticate both sides.
#[derive(Clone, Debug)]
pub struct Chap {
    accounts: Vec<Account>,
    own: Option<Account>,
    challenge: Challenge,
}

/// The target's secret is also an initiator's: each could then let the other answer for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a CHAP secret is used in both directions")]
pub struct SameSecret;

/// Why an initiator is not whom it says it is, or asks for what it cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChapFailure {
    /// No algorithm in common.
    #[error("the initiator offers no CHAP algorithm that is spoken here")]
    Algorithm,
    /// A key is missing or malformed.
    #[error("the initiator's CHAP keys are incomplete or malformed")]
    Keys,
    /// The name is unknown, or the secret is another.
    #[error("the initiator's CHAP name or secret is wrong")]
    Wrong,
    /// The initiator sent our own challenge back.
    #[error("the initiator reflects the target's CHAP challenge")]
    Reflected,
    /// The target has no name and secret of its own.
    #[error("the initiator asks the target for CHAP, which has no secret for that")]
    NotMutual,
}

impl Chap {
    /// Initiators have one of the accounts; `own` is for those that ask the target, too.
    ///
    /// # Errors
    /// When an initiator's secret is also the target's.
    pub fn new(
        accounts: Vec<Account>,
        own: Option<Account>,
        challenge: Challenge,
    ) -> Result<Self, SameSecret> {
        let own_secret = own.as_ref().map(|own| &own.secret);
        let same =
            own_secret.is_some_and(|own| accounts.iter().any(|account| account.secret.is(own)));
        if same { Err(SameSecret) } else { Ok(Self { accounts, own, challenge }) }
    }

    /// `CHAP_I` and `CHAP_C`.
    pub(crate) fn question(&self) -> (String, String) {
        (self.challenge.identifier.to_string(), binary::encode(&self.challenge.bytes))
    }

    /// Judges `CHAP_N` and `CHAP_R`.
    pub(crate) fn judge(&self, name: &str, response: &str) -> Result<(), ChapFailure> {
        let response = binary::decode(response).ok_or(ChapFailure::Keys)?;
        let account = self.accounts.iter().find(|account| account.name == name);
        // An unknown name takes as long as a known one.
        let unknown = Secret(vec![0; STRONG_BYTES_MIN]);
        let secret = account.map_or(&unknown, |account| &account.secret);
        let expected = secret.respond(self.challenge.identifier, &self.challenge.bytes);
        let right = bool::from(expected.ct_eq(&response));
        if right && account.is_some() { Ok(()) } else { Err(ChapFailure::Wrong) }
    }

    /// Answers the initiator's `CHAP_I` and `CHAP_C` with `CHAP_N` and `CHAP_R`.
    pub(crate) fn answer(
        &self,
        identifier: &str,
        challenge: &str,
    ) -> Result<(String, String), ChapFailure> {
        let own = self.own.as_ref().ok_or(ChapFailure::NotMutual)?;
        let identifier = crate::text::number(identifier);
        let identifier = identifier.and_then(|number| u8::try_from(number).ok());
        let identifier = identifier.ok_or(ChapFailure::Keys)?;
        let challenge = binary::decode(challenge).ok_or(ChapFailure::Keys)?;
        if challenge == self.challenge.bytes {
            return Err(ChapFailure::Reflected);
        }
        let response = own.secret.respond(identifier, &challenge);
        Ok((own.name.clone(), binary::encode(&response)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, secret: &[u8]) -> Account {
        Account { name: name.to_owned(), secret: Secret::new(secret).unwrap() }
    }

    fn chap(own: Option<Account>) -> Chap {
        let challenge = Challenge { identifier: 0x17, bytes: [0xa5; CHALLENGE_BYTES] };
        Chap::new(vec![account("user", b"initiator-secret")], own, challenge).unwrap()
    }

    /// `printf '\x17initiator-secret' | cat - 32-times-a5 | md5sum`, and the like.
    #[test]
    fn responses_are_md5_of_identifier_secret_and_challenge() {
        let secret = Secret::even_weak(*b"initiator-secret").unwrap();
        let response = binary::encode(&secret.respond(0x17, &[0xa5; 32]));
        assert_eq!(response, "0xa6c55dcfa68976799891fefc4f1db4cc");
        let secret = Secret::even_weak(*b"Welcome").unwrap();
        let response = binary::encode(&secret.respond(1, b"\x00\x01\x02\x03"));
        assert_eq!(response, "0x526da194d37c616d389ff5c5a994354b");
    }

    #[test]
    fn short_secrets_are_refused_unless_asked_for() {
        assert_eq!(Secret::new(*b"elevenbytes").err(), Some(BadSecret::Weak));
        assert!(Secret::new(*b"twelve-bytes").is_ok());
        assert!(Secret::even_weak(*b"x").is_ok());
        assert_eq!(Secret::even_weak(*b"").err(), Some(BadSecret::Length));
        assert_eq!(Secret::new([0; BINARY_BYTES_MAX + 1]).err(), Some(BadSecret::Length));
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new(*b"twelve-bytes").unwrap()), "Secret(..)");
    }

    #[test]
    fn only_the_right_name_with_the_right_secret_is_let_in() {
        let chap = chap(None);
        let right = Secret::new(*b"initiator-secret").unwrap().respond(0x17, &[0xa5; 32]);
        let wrong = Secret::new(*b"initiator-secreT").unwrap().respond(0x17, &[0xa5; 32]);
        assert_eq!(chap.judge("user", &binary::encode(&right)), Ok(()));
        assert_eq!(chap.judge("user", &binary::encode(&wrong)), Err(ChapFailure::Wrong));
        assert_eq!(chap.judge("User", &binary::encode(&right)), Err(ChapFailure::Wrong));
        assert_eq!(chap.judge("user", &binary::encode(&right[..15])), Err(ChapFailure::Wrong));
        assert_eq!(chap.judge("user", "0x"), Err(ChapFailure::Keys));
        let unknown = Secret::new([0; STRONG_BYTES_MIN]).unwrap().respond(0x17, &[0xa5; 32]);
        assert_eq!(chap.judge("nobody", &binary::encode(&unknown)), Err(ChapFailure::Wrong));
    }

    #[test]
    fn the_target_answers_where_it_has_a_secret_and_never_its_own_challenge() {
        let mutual = chap(Some(account("target", b"the-target-secret")));
        let (name, response) = mutual.answer("9", "0x0102").unwrap();
        let expected = Secret::new(*b"the-target-secret").unwrap().respond(9, &[1, 2]);
        assert_eq!((name.as_str(), response), ("target", binary::encode(&expected)));
        let reflected = binary::encode(&[0xa5; 32]);
        assert_eq!(mutual.answer("9", &reflected), Err(ChapFailure::Reflected));
        assert_eq!(mutual.answer("256", "0x01"), Err(ChapFailure::Keys));
        assert_eq!(chap(None).answer("9", "0x0102"), Err(ChapFailure::NotMutual));
    }

    #[test]
    fn one_secret_for_both_directions_is_refused() {
        let challenge = Challenge { identifier: 0, bytes: [0; 32] };
        let accounts = vec![account("user", b"one-for-everything")];
        let own = Some(account("target", b"one-for-everything"));
        assert_eq!(Chap::new(accounts, own, challenge).err(), Some(SameSecret));
    }
}
