//! Who may log in over iSCSI: names and secrets, out of a file.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use blockferry_control::api::{AccountProof, Initiators};
use blockferry_iscsi::{Account, Challenge, Chap, Secret};
use serde::Deserialize;

use crate::program::{hex, random};

/// A challenge, in bytes.
const CHALLENGE_BYTES: usize = 32;
/// What is said with it.
const IDENTIFIER: u8 = 0;
/// What to do where accounts differ.
const SAME: &str = "give both programs the same --iscsi-accounts";

/// The accounts of a server; without any, everybody may log in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    initiators: Vec<Account>,
    own: Option<Account>,
}

/// The file, in TOML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountsFile {
    /// Initiators that may log in.
    initiator: Vec<Named>,
    /// How this server proves itself to initiators that ask for it.
    target: Option<Named>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    secret: String,
}

impl Accounts {
    /// Reads them.
    ///
    /// # Errors
    /// When the file cannot be read, names nobody, or has secrets that will not do.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let file: AccountsFile = toml::from_str(&std::fs::read_to_string(path)?)?;
            ensure!(!file.initiator.is_empty(), "it names no [[initiator]]");
            let initiators = file.initiator.into_iter().map(account).collect::<Result<_>>()?;
            let own = file.target.map(account).transpose()?;
            let accounts = Self { initiators, own };
            accounts.new_chap().context("[target]")?;
            Ok(accounts)
        };
        read().with_context(|| format!("the CHAP accounts {}", path.display()))
    }

    /// All of them, with a new challenge.
    pub(crate) fn prove(&self, logged_in: u64) -> Initiators {
        Initiators { logged_in, ..self.answer(hex(&random::<CHALLENGE_BYTES>())) }
    }

    /// Why initiators that the source lets in could not log in here, or others could.
    pub(crate) fn problems(&self, source: &Initiators) -> Vec<String> {
        let here = self.answer(source.challenge.clone());
        if here.accounts.is_empty() != source.accounts.is_empty() {
            let (theirs, ours) = match here.accounts.is_empty() {
                true => ("asks initiators for a secret", "lets in everybody"),
                false => ("lets in every initiator", "asks for a secret"),
            };
            return vec![format!("the source {theirs}, and this program {ours}: {SAME}")];
        }
        let same = |theirs: &AccountProof| here.accounts.contains(theirs);
        let other = source.accounts.iter().filter(|theirs| !same(theirs));
        let mut problems: Vec<_> = other
            .map(|theirs| {
                format!(
                    "initiator {:?} could not log in here as it does at the source: {SAME}",
                    theirs.name
                )
            })
            .collect();
        if source.target.is_some() && source.target != here.target {
            problems.push(format!(
                "this program could not prove itself to initiators as the source does: {SAME}"
            ));
        }
        problems
    }

    fn answer(&self, challenge: String) -> Initiators {
        let prove = |account: &Account| AccountProof {
            name: account.name.clone(),
            proof: hex(&account.secret.respond(IDENTIFIER, challenge.as_bytes())),
        };
        let accounts = self.initiators.iter().map(prove).collect();
        let target = self.own.as_ref().map(prove);
        Initiators { logged_in: 0, challenge, accounts, target }
    }

    /// What a new login has to prove; `None` where everybody may log in.
    pub(crate) fn chap(&self) -> Option<Chap> {
        if self.initiators.is_empty() { None } else { self.new_chap().ok() }
    }

    fn new_chap(&self) -> Result<Chap> {
        let [identifier] = random();
        let challenge = Challenge { identifier, bytes: random() };
        Ok(Chap::new(self.initiators.clone(), self.own.clone(), challenge)?)
    }
}

fn account(named: Named) -> Result<Account> {
    let Named { name, secret } = named;
    let secret = Secret::new(secret).with_context(|| format!("the secret of {name}"))?;
    Ok(Account { name, secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(initiators: &[(&str, &str)], target: Option<(&str, &str)>) -> Accounts {
        let new = |(name, secret): (&str, &str)| {
            account(Named { name: name.to_owned(), secret: secret.to_owned() }).unwrap()
        };
        Accounts { initiators: initiators.iter().copied().map(new).collect(), own: target.map(new) }
    }

    const ONE: (&str, &str) = ("one", "correct-horse-battery");
    const TWO: (&str, &str) = ("two", "another-long-secret");

    #[test]
    fn whoever_may_log_in_at_the_source_has_to_be_able_to_here() {
        let source = accounts(&[ONE], Some(TWO));
        assert!(accounts(&[TWO, ONE], Some(TWO)).problems(&source.prove(0)).is_empty());
        for (here, word) in [
            (accounts(&[], None), "lets in everybody"),
            (accounts(&[TWO], Some(TWO)), "\"one\" could not log in"),
            (accounts(&[("one", "wrong-horse-battery")], Some(TWO)), "\"one\" could not log in"),
            (accounts(&[ONE], None), "prove itself"),
            (accounts(&[ONE], Some(("two", "yet-another-secret"))), "prove itself"),
        ] {
            let problems = here.problems(&source.prove(0));
            assert!(problems.len() == 1 && problems[0].contains(word), "{problems:?}");
            assert!(problems[0].contains("--iscsi-accounts"), "{problems:?}");
        }
        let open = accounts(&[], None);
        assert!(open.problems(&open.prove(3)).is_empty());
        assert!(source.problems(&open.prove(0))[0].contains("asks for a secret"));
    }

    #[test]
    fn a_proof_tells_no_secret_and_is_another_each_time() {
        let source = accounts(&[ONE], None);
        let (first, second) = (source.prove(0), source.prove(0));
        assert_ne!(first, second);
        assert!(!format!("{first:?}").contains(ONE.1));
    }
}
