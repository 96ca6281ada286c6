//! Who may log in over iSCSI: names and secrets, out of a file.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use blockferry_iscsi::{Account, Challenge, Chap, Secret};
use serde::Deserialize;

use crate::program::random;

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
