//! qemu-storage-daemon in a client's path, and its mirror, driven over QMP.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::child::{Server, free_port};

/// How long the daemon may take to open its socket.
const START_MAX: Duration = Duration::from_secs(10);
/// How long the end of a mirror that is ready may take.
const COMPLETE_MAX: Duration = Duration::from_secs(20);
/// Pause between two tries to connect.
const LOOK: Duration = Duration::from_millis(20);

/// The daemon, with the source as its export `vol`.
pub(crate) struct Daemon {
    _server: Server,
    pub(crate) nbd: SocketAddr,
    monitor: Monitor,
}

impl Daemon {
    /// Starts it before an NBD server.
    pub(crate) fn start(folder: &Path, source: SocketAddr) -> Result<Self> {
        let nbd = free_port()?;
        let socket = folder.join("qmp");
        let mut command = Command::new("qemu-storage-daemon");
        let chardev = format!("socket,id=c,path={},server=on,wait=off", socket.display());
        command.args(["--chardev", &chardev, "--monitor", "c"]);
        let node = format!(
            "node-name=src,driver=nbd,server.type=inet,server.host={},server.port={}",
            source.ip(),
            source.port()
        );
        command.args(["--blockdev", &node]);
        let listen = format!(
            "addr.type=inet,addr.host={},addr.port={},max-connections=0",
            nbd.ip(),
            nbd.port()
        );
        command.args(["--nbd-server", &listen]);
        command.args(["--export", "nbd,id=e,node-name=src,name=vol,writable=on"]);
        let log = folder.join("qemu.log");
        let server = Server::listening("qemu-storage-daemon", &mut command, &log, &[nbd])?;
        Ok(Self { _server: server, nbd, monitor: Monitor::connect(&socket)? })
    }

    /// Mirrors to another server, completes as soon as it can, and waits for the end. Gives when it
    /// was told to complete; `None` when the mirror was not ready within the longest time.
    pub(crate) fn mirror(
        &mut self,
        mode: &str,
        destination: SocketAddr,
        longest: Duration,
    ) -> Result<Option<Instant>> {
        let (host, port) = (destination.ip().to_string(), destination.port().to_string());
        let server = json!({"type": "inet", "host": host, "port": port});
        let node = json!({"node-name": "dst", "driver": "nbd", "server": server});
        self.monitor.command("blockdev-add", &node)?;
        let mirror = json!({
            "job-id": "m", "device": "src", "target": "dst", "sync": "full", "copy-mode": mode
        });
        self.monitor.command("blockdev-mirror", &mirror)?;
        if !self.monitor.wait("BLOCK_JOB_READY", longest)? {
            return Ok(None);
        }
        let told = Instant::now();
        self.monitor.command("job-complete", &json!({"id": "m"}))?;
        if !self.monitor.wait("BLOCK_JOB_COMPLETED", COMPLETE_MAX)? {
            bail!("qemu-storage-daemon's mirror was ready and did not complete");
        }
        Ok(Some(told))
    }
}

/// A connection to a monitor.
struct Monitor {
    reader: BufReader<UnixStream>,
    /// A line that has not come whole.
    partial: Vec<u8>,
    events: Vec<String>,
}

impl Monitor {
    fn connect(path: &Path) -> Result<Self> {
        let begun = Instant::now();
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(_) if begun.elapsed() < START_MAX => std::thread::sleep(LOOK),
                Err(error) => return Err(error).context("qemu-storage-daemon has no monitor"),
            }
        };
        let reader = BufReader::new(stream);
        let mut monitor = Self { reader, partial: Vec::new(), events: Vec::new() };
        let greeting = monitor.next(START_MAX)?;
        greeting.context("the monitor says nothing")?;
        monitor.command("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    fn command(&mut self, name: &str, arguments: &Value) -> Result<()> {
        let command = json!({"execute": name, "arguments": arguments});
        self.reader.get_mut().write_all(format!("{command}\n").as_bytes())?;
        loop {
            let Some(answer) = self.next(COMPLETE_MAX)? else { bail!("{name}: no answer") };
            if let Some(error) = answer.get("error") {
                bail!("{name}: {}", error["desc"]);
            }
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    /// Whether the event has come, or comes within the longest time.
    fn wait(&mut self, event: &str, longest: Duration) -> Result<bool> {
        let begun = Instant::now();
        loop {
            if self.events.iter().any(|known| known == event) {
                self.events.retain(|known| known != event);
                return Ok(true);
            }
            let Some(left) = longest.checked_sub(begun.elapsed()) else { return Ok(false) };
            self.next(left)?;
        }
    }

    /// The next line; events are noted, too.
    fn next(&mut self, longest: Duration) -> Result<Option<Value>> {
        self.reader.get_mut().set_read_timeout(Some(longest.max(LOOK)))?;
        match self.reader.read_until(b'\n', &mut self.partial) {
            Ok(0) => bail!("qemu-storage-daemon closed its monitor"),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("the monitor"),
        }
        let line = std::mem::take(&mut self.partial);
        let message: Value = serde_json::from_slice(&line).context("the monitor's JSON")?;
        self.events.extend(message["event"].as_str().map(str::to_owned));
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_came_before_it_was_waited_for_counts() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = BufReader::new(ours);
        let mut monitor = Monitor { reader, partial: Vec::new(), events: Vec::new() };
        theirs
            .write_all(b"{\"event\": \"BLOCK_JOB_READY\"}\n{\"return\": {}}\n{\"error\": {\"desc\": \"no\"}}\n")
            .unwrap();
        monitor.command("blockdev-mirror", &json!({})).unwrap();
        let short = Duration::from_millis(1);
        assert!(monitor.wait("BLOCK_JOB_READY", short).unwrap());
        assert!(monitor.command("job-complete", &json!({})).is_err());
        assert!(!monitor.wait("BLOCK_JOB_READY", short).unwrap(), "it is told once");
    }
}
