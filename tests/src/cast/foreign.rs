//! NBD servers of other makes, each on a unix socket.

use std::path::{Path, PathBuf};
use std::process::Command;

use blockferry_nbd_session::{Address, NbdUri};

use super::process::Process;
use super::until::until;

/// nbdkit, which can be slow or fail on purpose.
pub struct NbdKit {
    socket: PathBuf,
    _process: Process,
}

impl NbdKit {
    /// Serves what the arguments say, like `["file", "/path"]`, and waits until it does.
    pub async fn start(socket: PathBuf, arguments: &[&str]) -> Self {
        let mut command = Command::new("nbdkit");
        command.args(["--foreground", "--exit-with-parent", "--unix"]).arg(&socket);
        let process = Process::start("nbdkit", command.args(arguments));
        listening(&socket).await;
        Self { socket, _process: process }
    }

    /// Its only export.
    pub fn uri(&self) -> NbdUri {
        uri(&self.socket)
    }
}

/// qemu-nbd.
pub struct QemuNbd {
    socket: PathBuf,
    _process: Process,
}

impl QemuNbd {
    /// Serves a raw file to several clients at once.
    pub async fn start(socket: PathBuf, file: &Path) -> Self {
        let mut command = Command::new("qemu-nbd");
        command.args(["--format=raw", "--persistent", "--shared=8", "--discard=unmap"]);
        command.arg("--socket").arg(&socket).arg(file);
        let process = Process::start("qemu-nbd", &mut command);
        listening(&socket).await;
        Self { socket, _process: process }
    }

    /// Its only export.
    pub fn uri(&self) -> NbdUri {
        uri(&self.socket)
    }
}

fn uri(socket: &Path) -> NbdUri {
    NbdUri { address: Address::Unix(socket.to_owned()), export: String::new() }
}

async fn listening(socket: &Path) {
    let what = format!("somebody listens at {}", socket.display());
    until(&what, async || tokio::net::UnixStream::connect(socket).await.ok()).await;
}
