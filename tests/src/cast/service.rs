//! A switch that is a service of a real systemd, which does what it is told.

use std::time::Duration;

use super::switch::Switch;
use super::until::until;

/// A job that takes longer hangs.
const JOB_MAX: Duration = Duration::from_secs(60);

impl Switch {
    /// Has its service manager do something: reload, restart, stop or kill-worker. Tells whether it
    /// could.
    pub async fn job(&mut self, word: &str) -> bool {
        let done = self.process.out().iter().filter(|line| line.starts_with("job ")).count();
        self.process.say(word);
        let answered = self.process.said_within(JOB_MAX, "job ", done + 1).await;
        answered.last().expect("an answer").starts_with("job done")
    }

    /// The process id of its keeper, in the service's own count.
    pub async fn keeper(&self) -> u64 {
        until("the switch has a keeper", async || self.status().await?["keeper"]["pid"].as_u64())
            .await
    }
}
