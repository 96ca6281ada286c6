//! An initiator as a device, for a load.

use blockferry_block::Extent;
use blockferry_device::{
    Answer, Device, DeviceInfo, Errno, Failure, Features, Outcome, ReadPart, Reply, Request,
};
use blockferry_iscsi::pdu::Status;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::command::{Command, Sense};
use crate::driver::drive;
use crate::{Completion, Initiator, InitiatorSpec, Remote, Task};

/// The largest number of bytes in a request of a load.
const PAYLOAD_MAX: u32 = 1 << 20;

impl Initiator {
    /// Logs in, and asks how large the disk is.
    ///
    /// # Errors
    /// When the disk does not tell.
    pub async fn log_in(spec: InitiatorSpec) -> Result<Self, Failure> {
        let (tasks, orders) = mpsc::unbounded_channel();
        let remote = Remote { tasks, account: Default::default() };
        let mut driver = JoinSet::new();
        driver.spawn(drive(spec, orders, remote.account.clone()));
        let told = remote.execute(Command::read_capacity()).await;
        let last = told.data.get(..8).and_then(|last| last.try_into().ok());
        let last = last.map(u64::from_be_bytes).ok_or_else(|| failure(&told))?;
        Ok(Self { info: info((last + 1) * 512), remote, _driver: driver })
    }
}

fn info(size: u64) -> DeviceInfo {
    let features =
        Features { flush: true, fua: true, trim: true, write_zeroes: true, ..Features::default() };
    let info = DeviceInfo::new(size, features);
    DeviceInfo { block_size_min: 512, payload_max: PAYLOAD_MAX, ..info }
}

impl Remote {
    pub(crate) async fn execute(&self, command: Command) -> Completion {
        let (answer, answered) = oneshot::channel();
        let _ = self.tasks.send(Task { command, repeated: false, answer });
        // The driver ends after everybody who can ask it.
        answered.await.expect("the driver of an initiator has died")
    }

    async fn done(&self, command: Command) -> Result<Completion, Failure> {
        let completion = self.execute(command).await;
        match completion.status {
            Status::GOOD => Ok(completion),
            _ => Err(failure(&completion)),
        }
    }

    /// What has no FUA of its own is durable once the cache is synchronized.
    async fn durable(self, command: Command, fua: bool) -> Outcome {
        self.done(command).await?;
        if fua {
            self.done(Command::synchronize()).await?;
        }
        Ok(Reply::Done)
    }

    async fn read(self, extent: Extent) -> Outcome {
        let completion = self.done(Command::read(extent)).await?;
        Ok(Reply::Read(vec![ReadPart::Data(completion.data)]))
    }
}

impl Device for Initiator {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        let remote = self.remote.clone();
        match request {
            Request::Read { extent, .. } => Answer::later(remote.read(extent)),
            Request::Write { offset, data, fua } => {
                Answer::later(remote.durable(Command::write(offset, data, fua), false))
            }
            Request::WriteZeroes { extent, fua, no_hole, .. } => {
                Answer::later(remote.durable(Command::zero(extent, !no_hole), fua))
            }
            Request::Trim { extent, fua } => {
                Answer::later(remote.durable(Command::unmap(extent), fua))
            }
            Request::Flush => Answer::later(remote.durable(Command::synchronize(), false)),
            Request::Cache { .. } | Request::BlockStatus { .. } => {
                Answer::ready(Err(Failure::new(Errno::Inval, "not offered")))
            }
        }
    }
}

fn failure(completion: &Completion) -> Failure {
    let Completion { status, sense: Sense { key, code }, repeated, .. } = completion;
    let again = if *repeated { ", sent again" } else { "" };
    let line = format!("{status:?}, sense key {key:#x}, code {code:02x?}{again}");
    Failure::new(Errno::Io, line)
}
