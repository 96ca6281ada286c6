//! The security stage: whether an initiator has to prove who it is, and how far it has come (RFC
//! 7143 section 12.1).
//!
//! ```text
//!   Wanted --AuthMethod=CHAP--> Chosen --CHAP_A--> Challenged --CHAP_N, CHAP_R--> Proved
//! ```

use crate::chap::{Chap, ChapFailure, MD5};
use crate::login::Refusal;
use crate::text;

/// How far the authentication has come.
#[derive(Debug)]
pub(super) enum Security {
    /// Nobody has to prove anything.
    Open,
    /// A proof is wanted.
    Wanted(Chap),
    /// CHAP was agreed on.
    Chosen(Chap),
    /// The challenge was sent.
    Challenged(Chap),
    /// The initiator has the secret of the name.
    Proved(String),
}

/// Whether the key belongs to the security stage.
pub(super) fn is_key(key: &str) -> bool {
    key == "AuthMethod" || key.starts_with("CHAP_")
}

impl Security {
    /// The name for which there is a proof.
    pub(super) fn account(self) -> Option<String> {
        if let Self::Proved(name) = self { Some(name) } else { None }
    }

    /// Takes one request's pairs. True when the initiator may go on to the next stage.
    pub(super) fn take(
        &mut self,
        pairs: &[(&str, &str)],
        in_security: bool,
        transit: bool,
        answers: &mut Vec<u8>,
    ) -> Result<bool, Refusal> {
        let value = |key| pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
        let keys = Keys {
            method: value("AuthMethod"),
            algorithm: value("CHAP_A"),
            name: value("CHAP_N"),
            response: value("CHAP_R"),
            identifier: value("CHAP_I"),
            challenge: value("CHAP_C"),
        };
        let state = std::mem::replace(self, Self::Open);
        *self = match state {
            Self::Open => keys.without_proof(answers)?,
            Self::Proved(name) => keys.after_the_proof(name)?,
            _ if !in_security => return Err(Refusal::AuthenticationMethod),
            Self::Wanted(chap) => keys.method(chap, transit, answers)?,
            Self::Chosen(chap) => keys.algorithm(chap, answers)?,
            Self::Challenged(chap) => keys.proof(&chap, answers)?,
        };
        Ok(matches!(self, Self::Open | Self::Proved(_)))
    }
}

/// The values of the stage's keys in one request.
struct Keys<'a> {
    method: Option<&'a str>,
    algorithm: Option<&'a str>,
    name: Option<&'a str>,
    response: Option<&'a str>,
    identifier: Option<&'a str>,
    challenge: Option<&'a str>,
}

impl Keys<'_> {
    fn without_proof(&self, answers: &mut Vec<u8>) -> Result<Security, Refusal> {
        match self.method {
            Some(offered) if !has(offered, "None") => return Err(Refusal::AuthenticationMethod),
            Some(_) => text::put(answers, "AuthMethod", "None"),
            None if self.has_chap() => return Err(ChapFailure::Keys.into()),
            None => {}
        }
        Ok(Security::Open)
    }

    fn after_the_proof(&self, name: String) -> Result<Security, Refusal> {
        if self.method.is_some() || self.has_chap() {
            return Err(ChapFailure::Keys.into());
        }
        Ok(Security::Proved(name))
    }

    fn method(
        &self,
        chap: Chap,
        transit: bool,
        answers: &mut Vec<u8>,
    ) -> Result<Security, Refusal> {
        match self.method {
            Some(offered) if has(offered, "CHAP") => {
                text::put(answers, "AuthMethod", "CHAP");
                Ok(Security::Chosen(chap))
            }
            None if !transit => Ok(Security::Wanted(chap)),
            _ => Err(Refusal::AuthenticationMethod),
        }
    }

    fn algorithm(&self, chap: Chap, answers: &mut Vec<u8>) -> Result<Security, Refusal> {
        let offered = self.algorithm.ok_or(ChapFailure::Keys)?;
        if !has(offered, MD5) {
            return Err(ChapFailure::Algorithm.into());
        }
        let (identifier, challenge) = chap.question();
        text::put(answers, "CHAP_A", MD5);
        text::put(answers, "CHAP_I", identifier);
        text::put(answers, "CHAP_C", challenge);
        Ok(Security::Challenged(chap))
    }

    fn proof(&self, chap: &Chap, answers: &mut Vec<u8>) -> Result<Security, Refusal> {
        let (Some(name), Some(response)) = (self.name, self.response) else {
            return Err(ChapFailure::Keys.into());
        };
        chap.judge(name, response)?;
        match (self.identifier, self.challenge) {
            (None, None) => {}
            (Some(identifier), Some(challenge)) => {
                let (own, response) = chap.answer(identifier, challenge)?;
                text::put(answers, "CHAP_N", own);
                text::put(answers, "CHAP_R", response);
            }
            _ => return Err(ChapFailure::Keys.into()),
        }
        Ok(Security::Proved(name.to_owned()))
    }

    fn has_chap(&self) -> bool {
        [self.algorithm, self.name, self.response, self.identifier, self.challenge]
            .iter()
            .any(Option::is_some)
    }
}

fn has(list: &str, word: &str) -> bool {
    list.split(',').any(|listed| listed == word)
}
