//! tgt, the peer that serves iSCSI: a daemon that is set up through a socket of its own, and needs no
//! root for a volume in a file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::child::{self, Server, free_port};

/// Its target.
pub(crate) const TARGET: &str = "iqn.2026-01.io.blockferry.bench:vol";
/// Its volume's unit: it has something of its own at the first.
pub(crate) const LUN: u32 = 1;

/// How long it may take to create its socket.
const START_MAX: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// A running daemon. It does not end when it is told to: it is killed when this is dropped.
pub(crate) struct Tgt {
    pub(crate) server: Server,
    pub(crate) at: SocketAddr,
}

impl Tgt {
    /// Serves the image; socket and log lie in the folder.
    pub(crate) fn start(folder: &Path, image: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let (at, socket) = (free_port()?, folder.join("tgt"));
        let mut command = Command::new("tgtd");
        command.args(["-f", "-C", "0", "--iscsi", &format!("portal={at}")]);
        command.env("TGT_IPC_SOCKET", &socket);
        let log = folder.join("tgt.log");
        let server = Server::listening("tgtd", &mut command, &log, &[at])?;
        let control = Control(socket);
        control.wait()?;
        let image = image.display().to_string();
        control.call(&["--op", "new", "--mode", "target", "--tid", "1", "-T", TARGET])?;
        let unit = ["--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun"];
        control.call(&[&unit[..], &[&LUN.to_string(), "-b", &image]].concat())?;
        control.call(&["--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL"])?;
        Ok(Self { server, at })
    }
}

/// The way to the daemon, by the name that both are told.
struct Control(PathBuf);

impl Control {
    fn call(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("tgtadm");
        command.args(["-C", "0", "--lld", "iscsi"]).args(arguments);
        command.env("TGT_IPC_SOCKET", &self.0);
        child::run(&mut command).map(drop)
    }

    /// It listens to initiators before it can be set up.
    fn wait(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.call(&["--op", "show", "--mode", "target"]) {
                Err(error) if begun.elapsed() > START_MAX => {
                    return Err(error.context("tgtd cannot be set up"));
                }
                Err(_) => std::thread::sleep(LOOK),
                Ok(()) => return Ok(()),
            }
        }
    }
}
