//! `qemu-io`, which writes patterns and finds them again.

use std::process::Command;
use std::time::Duration;

use super::process::Process;

/// One process of `qemu-io` with one connection, which obeys a line at a time.
pub struct QemuIo {
    process: Process,
    obeyed: usize,
}

impl QemuIo {
    /// Starts `command`, which is `qemu-io` with what else it needs, on an image.
    pub fn start(command: &[&str], image: &str) -> Self {
        // Unbuffered, or it would overlook a line that comes together with another.
        let mut unbuffered = Command::new("stdbuf");
        unbuffered.args(["-i0", "-oL"]).args(command).args(["-f", "raw", image]);
        Self { process: Process::start_listening("qemu-io", &mut unbuffered), obeyed: 0 }
    }

    /// Has it obey, and waits until it has. A pattern that is not what was expected is an error too.
    ///
    /// # Panics
    /// When it says that something is wrong.
    pub async fn obey(&mut self, line: &str) {
        self.process.say(line);
        // Says nothing but that it is there: it answers nothing to some commands.
        self.process.say("help quit");
        self.obeyed += 1;
        self.process.said("exit the program", self.obeyed).await;
        let told = [self.process.out(), self.process.log()].concat();
        let wrong = told.iter().find(|line| line.contains("ailed") || line.contains("rror"));
        assert_eq!(wrong, None, "after {line:?}");
    }

    /// Has it write of every kind in a turn of its own, counted from 1, of 4 MiB; what it wrote in earlier ones
    /// has to be there.
    pub async fn write_beside_earlier_turns(&mut self, turn: u64) {
        for earlier in 1..turn {
            self.find(earlier).await;
        }
        let at = turn * 4;
        self.obey(&format!("write -P {turn} {at}M 70000")).await;
        self.obey(&format!("write -z {}k 64k", at * 1024 + 1024)).await;
        self.obey(&format!("write -z -u {}k 64k", at * 1024 + 1088)).await;
        self.obey(&format!("discard {}k 64k", at * 1024 + 1152)).await;
        self.obey(&format!("write -f -P {} {}k 64k", 16 + turn, at * 1024 + 2048)).await;
        self.obey("flush").await;
        self.find(turn).await;
    }

    async fn find(&mut self, turn: u64) {
        let at = turn * 4;
        self.obey(&format!("read -P {turn} {at}M 70000")).await;
        self.obey(&format!("read -P 0 {}k 192k", at * 1024 + 1024)).await;
        self.obey(&format!("read -P {} {}k 64k", 16 + turn, at * 1024 + 2048)).await;
    }

    /// Ends it.
    ///
    /// # Panics
    /// When it does not end well.
    pub async fn quit(mut self) {
        self.process.say("quit");
        assert!(self.process.end_within(Duration::from_secs(30)).await.success());
    }
}
