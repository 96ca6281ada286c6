//! An iSCSI initiator that goes on as the kernel's does: when its session ends, it logs in again, where it
//! was sent or where else it knows a portal, and sends again whatever was not answered.
//!
//! What it may count on, and the fault trials prove:
//!
//! - A login ends the older session of the same initiator port (RFC 7143 section 6.3.5): none of its
//!   commands executes once the login is answered. So what was not answered may be sent again, and what was
//!   sent before has been executed by then, or never will be. The same holds where the login is answered
//!   elsewhere, since a volume moves only while no command is under way.
//! - A command that was sent again may have been executed before. A write that is executed again brings
//!   the same content, and an initiator that wants an order among overlapping writes waits for the answers
//!   ([`InOrder`]): SCSI has no order among commands under way. Of a COMPARE AND WRITE that fails when it was
//!   sent again, only the content tells whether it was made.
//! - A unit attention, BUSY, TASK SET FULL and TASK ABORTED mean that the command is to be sent again. No
//!   other end of a command is followed by another try.
//!
//! It has one connection, error recovery level 0, no CHAP and no digests, and takes part in no multipathing.

mod command;
mod device;
mod driver;
mod login;
mod order;
mod route;
mod session;
mod uri;
mod wire;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use blockferry_device::DeviceInfo;
use blockferry_iscsi::pdu::Status;
use blockferry_iscsi::{Isid, PortalAddress};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub use crate::command::{Command, RESERVATION_TYPE, Sense};
pub use crate::order::{InOrder, Order, ReadsOnly};
pub use crate::uri::{BadDiskUri, DiskUri};

/// What a load that needs no name of its own calls itself.
const OWN_NAME: &str = "iqn.2026-01.io.blockferry.check:load";
/// An ISID that nobody has assigned (RFC 7143 section 11.12.5).
const RANDOM_ISID: u8 = 0x80;

/// Who logs in, to what, and where.
#[derive(Clone, Debug)]
pub struct InitiatorSpec {
    /// The initiator's name. Those of several sessions may be the same.
    pub name: String,
    /// The session's identity.
    pub isid: Isid,
    /// The target's name.
    pub target: String,
    /// Where the target may be found; the first comes first.
    pub portals: Vec<PortalAddress>,
    /// Unix sockets that lead to portals, where those are not called directly.
    pub detours: HashMap<PortalAddress, PathBuf>,
}

impl InitiatorSpec {
    /// The session of that number, of those that this process has with a disk.
    pub fn new(disk: &DiskUri, number: u16) -> Self {
        let [_, a, b, c] = std::process::id().to_be_bytes();
        let [high, low] = number.to_be_bytes();
        Self {
            name: OWN_NAME.to_owned(),
            isid: Isid([RANDOM_ISID, a, b, c, high, low]),
            target: disk.target.to_string(),
            portals: vec![disk.portal.clone()],
            detours: HashMap::new(),
        }
    }
}

/// What has become of a command.
#[derive(Clone, Debug)]
pub struct Completion {
    /// Its status.
    pub status: Status,
    /// Why, where the status is CHECK CONDITION.
    pub sense: Sense,
    /// What was read.
    pub data: Bytes,
    /// It was sent more than once, so that it may have been executed more than once.
    pub repeated: bool,
}

/// An initiator with one session, or on the way to the next.
pub struct Initiator {
    info: DeviceInfo,
    remote: Remote,
    _driver: JoinSet<()>,
}

/// How commands reach the driver.
#[derive(Clone)]
struct Remote {
    tasks: mpsc::UnboundedSender<Task>,
    account: Arc<Account>,
}

/// A command on its way, until it is answered.
struct Task {
    command: Command,
    /// It was sent already, in a session that has ended.
    repeated: bool,
    answer: oneshot::Sender<Completion>,
}

/// What an initiator has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Logins that were answered.
    pub logins: u64,
    /// Redirects that were followed.
    pub redirects: u64,
    /// Requests to log out that were granted.
    pub logouts: u64,
    /// Commands that were sent again in another session.
    pub repeats: u64,
}

#[derive(Debug, Default)]
struct Account {
    state: Mutex<(Counts, Vec<String>)>,
}

impl Account {
    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).0);
    }

    /// The target has broken the protocol.
    fn accuse(&self, fault: String) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.push(fault);
    }
}

impl Initiator {
    /// What it has seen so far.
    pub fn counts(&self) -> Counts {
        self.remote.account.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// How the target has broken the protocol, if it has.
    pub fn faults(&self) -> Vec<String> {
        self.remote.account.state.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Has a command executed, however many sessions that takes.
    pub async fn execute(&self, command: Command) -> Completion {
        self.remote.execute(command).await
    }
}
