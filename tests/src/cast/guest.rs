//! A stock Linux kernel in a VM, whose own clients attach what a test serves (`dev/vm/README.md`).

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use blockferry_block::MIB;
use blockferry_control::api::VolumeRole;

use super::cluster::{Cluster, VOLUME};
use super::nbdsh::run_tool;
use super::process::Process;
use crate::tree;

/// The first run downloads a kernel and QEMU.
const PREPARATION_MAX: Duration = Duration::from_secs(240);

/// The VM's whole life: about 15 s on an idle machine, and its processor is emulated.
const VM_MAX: Duration = Duration::from_secs(150);

/// A guest that is not ready after so long is looked at.
const LOOK_AFTER: Duration = Duration::from_secs(20);

/// Copied a second, so that the guest works while the copy runs.
const SLOWLY: [&str; 5] = ["--chunk", "1M", "--bandwidth", "24M", "--hold-at-ready"];

/// Rounds of work that the guest does with the mirror in place, before the commit.
const ROUNDS_HELD: usize = 2;

/// A VM that runs a scenario.
pub struct Guest(Process);

impl Guest {
    /// Where a guest reaches the loopback interface of its host.
    pub const HOST: &str = "10.0.2.2";

    /// Fetches what the VM is made of, or sees that it is there.
    ///
    /// # Panics
    /// When it is not to be had.
    pub async fn prepare() {
        let mut command = Command::new(tree::root().join("dev/vm/initramfs"));
        let mut process = Process::start("dev/vm/initramfs", &mut command);
        let status = process.end_within(PREPARATION_MAX).await;
        assert!(status.success(), "the VM cannot be set up: {}", process.log().join("\n"));
    }

    /// Boots one for a scenario of `dev/vm`, which is told these variables.
    pub fn boot(scenario: &str, scratch: &Path, told: &[(&str, String)]) -> Self {
        let mut command = Command::new(tree::root().join("dev/vm/run"));
        command.arg("--timeout").arg(VM_MAX.as_secs().to_string());
        // The machine may be slow.
        command.args(["--env", "MOVE_SECONDS_MAX=100"]);
        for (name, value) in told {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        command.arg(tree::root().join("dev/vm").join(scenario)).env("TMPDIR", scratch);
        Self(Process::start_listening("the VM", &mut command))
    }

    /// Waits until it has made its file system. Where that takes long its kernel may wait for an
    /// answer, and tries again after 30 s: the sockets of all programs tell where it has stayed.
    pub async fn is_ready(&mut self) {
        let ready = self.0.said_within(VM_MAX, "BF:ready", 1);
        let look = async || -> Infallible {
            tokio::time::sleep(LOOK_AFTER).await;
            let sockets = run_tool(Command::new("ss").arg("-tnpiemo")).await;
            eprintln!("after {} s the guest is not ready:\n{}", LOOK_AFTER.as_secs(), sockets.out);
            std::future::pending().await
        };
        tokio::select! {
            _ = ready => {}
            never = look() => match never {},
        }
    }

    /// Waits until it has done so many more rounds of work.
    pub async fn works(&mut self, rounds: usize) {
        let done = self.0.out().iter().filter(|line| line.contains("BF:round")).count();
        self.0.said_within(VM_MAX, "BF:round", done + rounds).await;
    }

    /// Works while the volume moves below its file system, before, during and after the copy.
    pub async fn works_through_a_move(&mut self, cluster: &Cluster) {
        self.is_ready().await;
        self.works(1).await;
        let copying = cluster.controller("migrate", &SLOWLY);
        cluster.until_copied(MIB).await;
        self.works(1).await;
        copying.done().await;
        self.works(ROUNDS_HELD).await;
        cluster.controller("commit", &[]).done().await;
        cluster.destination.until_role(VOLUME, VolumeRole::Owner).await;
    }

    /// Waits until it has said this.
    pub async fn said(&mut self, words: &str) {
        self.0.said_within(VM_MAX, words, 1).await;
    }

    /// Tells it that the move is over, and waits for its verdict.
    ///
    /// # Panics
    /// When anything went wrong.
    pub async fn passes(&mut self) {
        self.0.say("finished");
        self.ends_well().await;
        assert!(self.0.out().iter().any(|line| line.contains("BF:dmesg-clean")));
    }

    /// Waits for its verdict.
    ///
    /// # Panics
    /// When it did not pass.
    pub async fn ends_well(&mut self) {
        self.said("BF:pass").await;
        let status = self.0.end_within(VM_MAX).await;
        assert!(status.success(), "the guest did not pass: {status}");
    }
}

/// Whether a volume holds a whole file system.
///
/// # Panics
/// When it does not.
pub async fn check_file_system(volume: &Path) {
    let mut e2fsck = Command::new("e2fsck");
    let checked = run_tool(e2fsck.arg("-fn").arg(volume)).await;
    assert!(checked.success, "{}\n{}", checked.out, checked.err);
}
