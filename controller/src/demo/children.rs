//! The three programs of the demo, as child processes of it. Whatever ends the demo ends them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use blockferry_control::{ControlAddress, ControlClient};
use blockferry_nbd_session::NbdUri;
use blockferry_net::Address;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// How long a program may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a program may take to end after it was told to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A free port, which nobody else reaches.
const ANY_PORT: &str = "127.0.0.1:0";

/// Pause between two looks at a program that starts.
const LOOK_INTERVAL: Duration = Duration::from_millis(30);

/// The running programs.
pub(super) struct Children {
    dir: PathBuf,
    children: Vec<(&'static str, Child)>,
}

impl Children {
    /// Starts the source with the image as its volume, an empty destination, and a switch that leads
    /// to the source; waits until all answer.
    pub(super) async fn start(dir: &Path, name: &str, image: &Path) -> anyhow::Result<Self> {
        let mut started = Self { dir: dir.to_owned(), children: Vec::new() };
        let volume = format!("--volume={name}={}", image.display());
        let pool = format!("--pool={}", dir.join("pool").display());
        started.spawn("target-src", "source", "--nbd", &[volume]).await?;
        started.spawn("target-dst", "destination", "--nbd", &[pool]).await?;
        let upstream = NbdUri { address: started.nbd("source"), export: name.to_owned() };
        let routes = [
            format!("--route={name}={upstream}"),
            format!("--route={name}=iscsi://{}", started.portal("source").await?),
        ];
        started.spawn("switch-proxy", "switch", "--listen", &routes).await?;
        Ok(started)
    }

    async fn spawn(
        &mut self,
        program: &'static str,
        part: &str,
        data_flag: &str,
        more: &[String],
    ) -> anyhow::Result<()> {
        let path = beside_this_program(program)?;
        let log = self.dir.join(format!("{part}.log"));
        let log = std::fs::File::create(&log).context("no log file")?;
        let child = Command::new(&path)
            .arg(data_flag)
            .arg(self.nbd(part).to_string())
            .arg("--control")
            .arg(self.control(part).to_string())
            .arg("--state")
            .arg(self.dir.join(format!("{part}.state")))
            .args(["--iscsi", ANY_PORT])
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("no log file")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", path.display()))?;
        self.children.push((program, child));
        self.wait_for(program, part).await
    }

    async fn wait_for(&mut self, program: &str, part: &str) -> anyhow::Result<()> {
        let client = ControlClient::new(self.control(part), None);
        let answers = async {
            while client.get::<Value>("/v1/status").await.is_err() {
                let (_, child) = self.children.last_mut().context("a child was started")?;
                if let Some(status) = child.try_wait()? {
                    let log = self.dir.join(format!("{part}.log"));
                    let text = std::fs::read_to_string(log).unwrap_or_default();
                    let last = text.lines().last().unwrap_or("it said nothing");
                    bail!("{program} ended at once ({status}): {last}");
                }
                sleep(LOOK_INTERVAL).await;
            }
            Ok(())
        };
        let waited = timeout(START_TIMEOUT, answers).await;
        waited.with_context(|| format!("{program} does not answer"))?
    }

    /// Ends them in good manners.
    pub(super) async fn stop(mut self) {
        for (program, child) in self.children.iter_mut().rev() {
            let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else { continue };
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // One that has ended by itself needs no signal.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
                // It is killed when it is dropped.
                tracing::warn!(program, "a program of the demo does not end by itself");
            }
        }
    }

    pub(super) fn source_control(&self) -> ControlAddress {
        self.control("source")
    }

    pub(super) fn destination_control(&self) -> ControlAddress {
        self.control("destination")
    }

    pub(super) fn switch_control(&self) -> ControlAddress {
        self.control("switch")
    }

    /// Where the client connects.
    pub(super) fn switch_nbd(&self) -> Address {
        self.nbd("switch")
    }

    /// Where an initiator logs in.
    pub(super) async fn switch_portal(&self) -> anyhow::Result<String> {
        self.portal("switch").await
    }

    /// Where a program serves iSCSI: over TCP, since initiators know nothing else.
    async fn portal(&self, part: &str) -> anyhow::Result<String> {
        let client = ControlClient::new(self.control(part), None);
        let status: Value = client.get("/v1/status").await?;
        let portal = status["address"]["iscsi"].as_str();
        portal.map(str::to_owned).with_context(|| format!("the {part} does not serve iSCSI"))
    }

    fn control(&self, part: &str) -> ControlAddress {
        ControlAddress::Unix(self.dir.join(format!("{part}.control")))
    }

    fn nbd(&self, part: &str) -> Address {
        Address::Unix(self.dir.join(format!("{part}.nbd")))
    }
}

/// The programs are built and installed together.
fn beside_this_program(program: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it is")?;
    let path = own.with_file_name(program);
    if !path.exists() {
        bail!("{} is not there; build it: cargo build --release -p {program}", path.display());
    }
    Ok(path)
}
