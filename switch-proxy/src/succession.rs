//! A keeper's end and the next one's beginning with a service manager between them: it holds the
//! sockets meanwhile, as systemd does for services with a file descriptor store.
//!
//! Nothing of it is asked of the manager before the end, so a keeper that is killed leaves nothing.

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use blockferry_keeper::{ClientId, Estate};
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
use sd_notify::NotifyState;

/// How many descriptors the service manager keeps. systemd says it since version 254; for older ones
/// the unit has to.
const STORE: &str = "FDSTORE";
/// Names in the store.
const LISTENER: &str = "listener";
const ESTATE: &str = "estate";
const CLIENT: &str = "client-";
/// How long the manager may take to have read everything.
const MANAGER_MAX: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// What another keeper has left, as it is found.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// How each conversation stands.
    pub(crate) estate: Estate,
    /// Where clients come in; that keeper may have had none.
    pub(crate) listener: Option<OwnedFd>,
    /// The clients' sockets.
    pub(crate) sockets: HashMap<ClientId, OwnedFd>,
}

/// What the service manager does not pass on to a worker.
pub(crate) const ENVIRONMENT: [&str; 5] =
    [STORE, "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// How many descriptors can be left, if any.
pub(crate) fn room() -> Option<usize> {
    env::var_os("NOTIFY_SOCKET")?;
    env::var(STORE).ok()?.parse().ok().filter(|room| *room > 0)
}

/// Tells the service manager that clients are served, and what an operator has to know of it; empty
/// when it is nothing.
pub(crate) fn ready(but: &str) {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(but)]) {
        tracing::warn!(%error, "the service manager cannot be told that clients are served");
    }
}

/// Takes what another keeper has left out of the store: from now on it is this process's alone.
///
/// # Errors
/// When it makes no sense. The clients are lost then.
pub(crate) fn inherit() -> Result<Option<Inheritance>> {
    let mut found = HashMap::new();
    for (name, socket) in sd_listen_fds::get().context("what the service manager passes")? {
        let (name, socket) = (name.unwrap_or_default(), socket.into_std());
        rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)])?;
        found.insert(name, socket);
    }
    let Some(estate) = found.remove(ESTATE) else { return Ok(None) };
    let mut estate = File::from(estate);
    let mut written = Vec::new();
    estate.rewind()?;
    estate.read_to_end(&mut written)?;
    let estate = Estate::read(Bytes::from(written)).context("the clients of another keeper")?;
    let listener = found.remove(LISTENER);
    let number = |name: String| name.strip_prefix(CLIENT)?.parse().ok();
    let sockets = found.into_iter().filter_map(|(name, fd)| Some((number(name)?, fd))).collect();
    Ok(Some(Inheritance { estate, listener, sockets }))
}

/// Leaves everything with the service manager. When it comes back the manager has it.
///
/// # Errors
/// When the manager does not take it. The clients are lost then.
pub(crate) fn leave(
    estate: &Estate,
    listener: Option<&OwnedFd>,
    sockets: &[(ClientId, OwnedFd)],
) -> Result<()> {
    let mut written = File::from(rustix::fs::memfd_create(ESTATE, MemfdFlags::CLOEXEC)?);
    estate.write(&mut written)?;
    if let Some(listener) = listener {
        store(LISTENER, listener)?;
    }
    for (client, socket) in sockets {
        store(&format!("{CLIENT}{client}"), socket)?;
    }
    store(ESTATE, &written.into())?;
    wait_for_the_manager()
}

fn store(name: &str, what: &OwnedFd) -> io::Result<()> {
    let state = [NotifyState::FdStore, NotifyState::FdName(name)];
    sd_notify::notify_with_fds(&state, &[what.as_fd()])
}

/// The manager closes the pipe when it comes to this message, behind all others.
fn wait_for_the_manager() -> Result<()> {
    let (here, there) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[there.as_fd()])?;
    drop(there);
    let mut closed = [PollFd::new(&here, PollFlags::HUP)];
    let ready = poll(&mut closed, Some(&MANAGER_MAX))?;
    anyhow::ensure!(ready > 0, "the service manager does not answer");
    Ok(())
}
