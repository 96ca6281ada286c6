//! The ordered copy, carried here for a controller: the destination reads from the source, and writes
//! as a copy connection of that controller would. So the data goes over one way instead of two, and all
//! that binds a copier binds this one: its term, its epoch, the address `W`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use blockferry_block::{BootId, ClaimEpoch, Extent, Generation};
use blockferry_control::api::{CopyHalt, CopyHaltKind, CopyReply, CopyRequest};
use blockferry_copier::{Halt, LocalEnd, Manner, OrderedCopy, Pace, Side};
use blockferry_device::Failure;
use blockferry_nbd_session::{
    ConnectOptions, Hello, Link, NbdUri, Purpose, Role, RoleClaim, connect,
};
use blockferry_net::{Peer, Place};
use tokio_util::task::AbortOnDropHandle;

use super::Volume;
use super::receiver::Receiver;
use super::steps::{Refused, Step};

/// How long connecting to the source may take, handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Volume {
    /// `/copy`: on a thread that serves connections, and no longer than its caller waits for it.
    pub(crate) async fn copy(self: &Arc<Self>, request: CopyRequest) -> Step<CopyReply> {
        let claim = claim(&request).map_err(|error| Refused::conflict(format!("{error:#}")))?;
        let peer = self.migration(&request.migration)?.peer;
        let receiver =
            self.receiver().ok_or_else(|| Refused::conflict("it is not received here"))?;
        let (runtime, place) = self.program.threads.place();
        let volume = Arc::clone(self);
        let carrying = runtime.spawn(async move {
            let _place = place;
            volume.carry(&receiver, &peer.nbd, claim, &request).await
        });
        let carrying = AbortOnDropHandle::new(carrying);
        tokio::select! {
            ended = carrying => ended.context("the copy failed")?,
            () = self.program.shutdown.cancelled() => Ok(self.cut_short()),
        }
    }

    /// The program ends, as it would end a copy connection.
    fn cut_short(&self) -> CopyReply {
        let at = Extent::between(self.info.size, self.info.size);
        let reason = "the program ends".to_owned();
        CopyReply::Halted(told(&Halt::Lost { side: Side::Destination, extent: at, reason }))
    }

    async fn carry(
        self: &Arc<Self>,
        receiver: &Receiver,
        source: &str,
        claim: RoleClaim,
        request: &CopyRequest,
    ) -> Step<CopyReply> {
        let hello = Hello { purpose: Purpose::Go, role: Some(claim.clone()), peer: Peer::Unix };
        let device = self.connect(&hello, None).await.map_err(Refused::conflict)?;
        let cut = device.cut();
        let here = LocalEnd::new(Arc::new(device), cut);
        let (link, _place) = match self.open_source(source, claim).await {
            Ok(opened) => opened,
            Err(error) => return Ok(CopyReply::NotOpened { reason: format!("{error:#}") }),
        };
        let ended = copy(receiver, (&link, &here), request).await;
        // What is under way to here is of no use any more.
        link.abort();
        Ok(match ended {
            Ok(()) => CopyReply::Complete,
            Err(halt) => CopyReply::Halted(told(&halt)),
        })
    }

    async fn open_source(&self, source: &str, claim: RoleClaim) -> anyhow::Result<(Link, Place)> {
        let uri: NbdUri = source.parse().with_context(|| format!("the address {source:?}"))?;
        let options = ConnectOptions {
            role: Some(claim),
            timeout: CONNECT_TIMEOUT,
            ..ConnectOptions::new(uri.address, self.name.as_str())
        };
        // It receives on one thread while another writes and hashes what has come.
        let (runtime, place) = self.program.threads.place();
        let link = runtime.spawn(async move { connect(&options).await }).await?;
        Ok((link.with_context(|| format!("no copy connection to {source}"))?, place))
    }
}

/// From `W`, which no older copier changes any more, to the end.
async fn copy(
    receiver: &Receiver,
    ends: (&Link, &LocalEnd),
    request: &CopyRequest,
) -> Result<(), Halt> {
    let start = receiver.read(|destination| destination.reserved());
    let manner = Manner::new(request.chunk, request.chunk_max, request.window);
    let mut pace = request.bandwidth.map(|rate| Pace::new(rate, Instant::now()));
    let written = AtomicU64::new(start);
    OrderedCopy::new(ends, start, manner, pace.as_mut(), &written).run().await
}

fn claim(request: &CopyRequest) -> anyhow::Result<RoleClaim> {
    Ok(RoleClaim {
        role: Role::Copy,
        standby: false,
        migration: request.migration.parse().context("the migration")?,
        token: request.token.parse().context("the token")?,
        session: request.session.parse().context("the session")?,
        generation: Generation(request.term),
        source_boot: BootId(request.source_boot),
        destination_boot: BootId(request.destination_boot),
        claim_epoch: ClaimEpoch(request.epoch),
        arrangement: String::new(),
    })
}

/// A halt as the control API has it.
fn told(halt: &Halt) -> CopyHalt {
    let of_failure = |failure: &Failure| (failure.errno.code(), failure.message.to_string());
    let (kind, side, extent, (errno, reason)) = match halt {
        Halt::Lost { side, extent, reason } => {
            (CopyHaltKind::Lost, side, extent, (0, reason.clone()))
        }
        Halt::Refused { side, extent, failure } => {
            (CopyHaltKind::Refused, side, extent, of_failure(failure))
        }
        Halt::Failed { side, extent, failure } => {
            (CopyHaltKind::Failed, side, extent, of_failure(failure))
        }
        Halt::Malformed { side, extent, what } => {
            (CopyHaltKind::Malformed, side, extent, (0, what.clone()))
        }
    };
    let (start, end) = (extent.start(), extent.end());
    CopyHalt { kind, at_source: *side == Side::Source, start, end, errno, reason }
}
