//! The ground that the copy stands on: two running programs that are attached to each other.
//!
//! After any trouble the controller only waits here: the source attaches by itself to a restarted
//! destination, and a restarted source to its own.

use std::time::Duration;

use anyhow::bail;
use blockferry_control::api::{VolumeRole, VolumeStatus};

use super::Migration;
use crate::network::Network;
use crate::position::role_name;
use crate::show::{Event, Show};
use crate::survey::{Seen, StorageSeen, look};

/// Pause between two looks at a program that is not where it should be.
pub(super) const WAIT: Duration = Duration::from_millis(300);

/// What a copy connection has to name, and where the copy goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ground {
    /// This run of the source.
    pub(super) source_boot: u64,
    /// This run of the destination.
    pub(super) destination_boot: u64,
    /// Epoch of the claims.
    pub(super) epoch: u64,
}

/// What the storage programs say, as far as the copy is concerned.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Footing {
    /// They are attached; `W`.
    Firm(Ground, u64),
    /// Not yet, for a reason that passes.
    Loose(String),
    /// Never again by this controller: one line why.
    Lost(String),
}

/// Says something once, until there is something else to say.
pub(super) struct Voice<'a> {
    show: &'a dyn Show,
    last: Option<String>,
}

impl<'a> Voice<'a> {
    pub(super) fn new(show: &'a dyn Show) -> Self {
        Self { show, last: None }
    }

    pub(super) fn say(&mut self, message: String) {
        if self.last.as_ref() != Some(&message) {
            self.show.show(&Event::Note { message: message.clone() });
            self.last = Some(message);
        }
    }
}

impl<N: Network> Migration<'_, N> {
    /// Waits, as long as it takes, until both programs run and are attached. Gives `W`, too.
    pub(super) async fn firm_ground(&self) -> anyhow::Result<(Ground, u64)> {
        let mut voice = Voice::new(self.show);
        loop {
            match self.footing().await {
                Footing::Firm(ground, reserved) => return Ok((ground, reserved)),
                Footing::Loose(why) => voice.say(format!("waiting: {why}")),
                Footing::Lost(why) => bail!("{why}"),
            }
            tokio::time::sleep(WAIT).await;
        }
    }

    /// One look at both.
    pub(super) async fn look_at_both(&self) -> (Seen<StorageSeen>, Seen<StorageSeen>) {
        tokio::join!(look(&self.parties.source), look(&self.parties.destination))
    }

    /// One look at both, and what it means.
    pub(super) async fn footing(&self) -> Footing {
        let (source, destination) = self.look_at_both().await;
        self.judge(&source, &destination)
    }

    /// What a look means.
    pub(super) fn judge(
        &self,
        source: &Seen<StorageSeen>,
        destination: &Seen<StorageSeen>,
    ) -> Footing {
        let (source, destination) = match (source, destination) {
            (Ok(source), Ok(destination)) => (source, destination),
            (Err(error), _) | (_, Err(error)) => return Footing::Loose(error.to_string()),
        };
        let at_source = match self.at_source(source.volume.as_ref()) {
            Ok(status) => status,
            Err(footing) => return footing,
        };
        let Some(sending) = &at_source.migration else {
            return Footing::Lost(self.given_up());
        };
        let Some(at_destination) = &destination.volume else {
            return Footing::Lost(format!(
                "the destination does not have {} any more; abort and begin again",
                self.parties.volume
            ));
        };
        let Some(receiving) = at_destination.migration.as_ref().filter(|m| m.id == sending.id)
        else {
            return Footing::Lost(format!(
                "the destination does not take part in migration {} any more; abort and begin again",
                sending.id
            ));
        };
        if let Some(because) = &sending.paused_because {
            let volume = &self.parties.volume;
            return Footing::Lost(format!("the migration of {volume} is paused: {because}"));
        }
        if !sending.attached || receiving.epoch != sending.epoch {
            let why = sending.trouble.as_deref().unwrap_or("it will by itself");
            return Footing::Loose(format!("the source is not attached to the destination: {why}"));
        }
        let ground = Ground {
            source_boot: source.program.boot,
            destination_boot: destination.program.boot,
            epoch: sending.epoch,
        };
        Footing::Firm(ground, at_destination.reserved_address)
    }

    /// The volume at the source, if it is still this controller's to send.
    fn at_source<'s>(&self, volume: Option<&'s VolumeStatus>) -> Result<&'s VolumeStatus, Footing> {
        let Some(volume) = volume else {
            return Err(Footing::Lost("the source does not have the volume any more".to_owned()));
        };
        let Some(migration) = &volume.migration else { return Err(Footing::Lost(self.given_up())) };
        if migration.id != self.identity.migration {
            return Err(Footing::Lost(self.given_up()));
        }
        if migration.term > self.identity.term {
            return Err(Footing::Lost(format!(
                "another controller has taken the migration of {} over (term {}, this one had {})",
                self.parties.volume, migration.term, self.identity.term
            )));
        }
        match volume.role {
            VolumeRole::Migrating => Ok(volume),
            role => Err(Footing::Lost(format!(
                "the volume is {} at the source by another controller's doing; see status",
                role_name(role)
            ))),
        }
    }

    fn given_up(&self) -> String {
        let (volume, migration) = (&self.parties.volume, &self.identity.migration);
        format!("the source does not send {volume} as migration {migration} any more: aborted?")
    }
}
