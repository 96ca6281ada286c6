//! NBD servers of other makes, each on a unix socket.

use std::path::{Path, PathBuf};
use std::process::Command;

use blockferry_nbd_session::NbdUri;
use blockferry_net::Address;

use super::process::Process;
use super::until::until;

/// nbdkit, which can be slow or fail on purpose.
pub struct NbdKit(Server);

impl NbdKit {
    /// Serves what the arguments say, like `["file", "/path"]`, and waits until it does.
    pub async fn start(socket: PathBuf, arguments: &[&str]) -> Self {
        let own = ["--foreground", "--exit-with-parent", "--unix", plain(&socket)];
        let arguments = [&own, arguments].concat();
        Self(Server::start("nbdkit", &arguments, &socket).await)
    }

    /// Its only export.
    pub fn uri(&self) -> NbdUri {
        self.0.uri()
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        self.0.kill9();
    }

    /// Starts it again as it was.
    pub async fn restart(&mut self) {
        self.0.restart().await;
    }
}

/// qemu-nbd.
pub struct QemuNbd(Server);

impl QemuNbd {
    /// Serves a raw file to several clients at once.
    pub async fn start(socket: PathBuf, file: &Path) -> Self {
        Self::start_format(socket, file, "raw").await
    }

    /// Serves an image of this format to several clients at once.
    pub async fn start_format(socket: PathBuf, file: &Path, format: &str) -> Self {
        let format = format!("--format={format}");
        let own = [&format, "--persistent", "--shared=8", "--discard=unmap", "--socket"];
        let arguments = [&own[..], &[plain(&socket), plain(file)]].concat();
        Self(Server::start("qemu-nbd", &arguments, &socket).await)
    }

    /// Its only export.
    pub fn uri(&self) -> NbdUri {
        self.0.uri()
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        self.0.kill9();
    }

    /// Starts it again as it was.
    pub async fn restart(&mut self) {
        self.0.restart().await;
    }
}

/// Any of them.
struct Server {
    program: &'static str,
    arguments: Vec<String>,
    socket: PathBuf,
    process: Process,
}

impl Server {
    async fn start(program: &'static str, arguments: &[&str], socket: &Path) -> Self {
        let process = Process::start(program, Command::new(program).args(arguments));
        listening(socket).await;
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { program, arguments, socket: socket.to_owned(), process }
    }

    fn uri(&self) -> NbdUri {
        NbdUri { address: Address::Unix(self.socket.clone()), export: String::new() }
    }

    fn kill9(&mut self) {
        self.process.kill9();
        // The next run could not listen there.
        let _ = std::fs::remove_file(&self.socket);
    }

    async fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "{} still runs", self.program);
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        *self = Self::start(self.program, &arguments, &self.socket).await;
    }
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

async fn listening(socket: &Path) {
    let what = format!("somebody listens at {}", socket.display());
    until(&what, async || tokio::net::UnixStream::connect(socket).await.ok()).await;
}
