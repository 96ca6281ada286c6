//! The peers' servers, with the command lines that the figures to beat were taken with.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::child::{Server, free_port};

/// A peer that serves NBD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// No I/O at all: the ceiling of the client.
    NbdkitNull,
    NbdkitFile,
    QemuNbd,
}

impl Peer {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NbdkitNull => "nbdkit-null",
            Self::NbdkitFile => "nbdkit-file",
            Self::QemuNbd => "qemu-nbd",
        }
    }

    /// Serves the image as the default export; the null plugin serves a volume of its size.
    pub(crate) fn serve(self, image: &Path, log: &Path) -> Result<(Server, SocketAddr)> {
        let at = free_port()?;
        let mut command = match self {
            Self::NbdkitNull => {
                let size = std::fs::metadata(image)?.len();
                let mut command = nbdkit(at);
                command.arg("null").arg(size.to_string());
                command
            }
            Self::NbdkitFile => {
                let mut command = nbdkit(at);
                command.arg("file").arg(image);
                command
            }
            Self::QemuNbd => qemu_nbd(at, image),
        };
        Ok((Server::listening(self.name(), &mut command, log, &[at])?, at))
    }
}

fn nbdkit(at: SocketAddr) -> Command {
    let mut command = Command::new("nbdkit");
    command.args(["-f", "-p", &at.port().to_string(), "-i", &at.ip().to_string()]);
    command
}

fn qemu_nbd(at: SocketAddr, image: &Path) -> Command {
    let mut command = Command::new("qemu-nbd");
    command.args(["-t", "-e", "32", "-p", &at.port().to_string(), "-b", &at.ip().to_string()]);
    command.args(["-f", "raw", "--cache=writeback", "--aio=threads", "-x", ""]).arg(image);
    command
}

/// haproxy in TCP mode with one thread before a server. With `splice` it passes long payloads on inside
/// the kernel: what comes near to the least that a relay can cost.
pub(crate) fn haproxy(
    folder: &Path,
    server: SocketAddr,
    splice: bool,
) -> Result<(Server, SocketAddr)> {
    let at = free_port()?;
    let config = folder.join("haproxy.cfg");
    let text = format!(
        "global\n    nbthread 1\n    maxconn 4096\n\
         defaults\n    mode tcp\n{}    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n\
         listen nbd\n    bind {at}\n    server volume {server}\n",
        if splice { "    option splice-request\n    option splice-response\n" } else { "" }
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&config);
    Ok((Server::listening("haproxy", &mut command, &folder.join("haproxy.log"), &[at])?, at))
}
