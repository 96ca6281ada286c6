//! A session from its login to its end, in one task.
//!
//! ```text
//!   socket -> inbox -> PDUs -> Session -> commands -> unit -+-> answered at once ----> Session -> socket
//!                                                           +-> running on the medium ----^
//! ```
//!
//! Each turn does all that can be done without waiting: the answers to what has come leave in one
//! vectored write. Commands begin in their order while there is room for what they transfer, and the
//! window keeps the others at the initiator.

mod commands;
mod orders;
mod queue;
mod running;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use blockferry_iscsi::{
    Decoder, Event, Fault, FrameError, PortalAddress, Session, SessionLimits, TargetEntry,
    TargetQuery,
};
use blockferry_net::{Awake, BufferedPart, Deadline, Limits, Stream};
use blockferry_scsi::InitiatorPort;
use bytes::{Buf, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::oneshot;
use tokio_util::io::poll_write_buf;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::commands::Commands;
use self::running::{Ended, Running};
use crate::login::LoggedIn;
use crate::medium::Medium;
use crate::targets::Targets;
use crate::unit::Membership;

/// What a session may have under way: as many commands as Linux sends at most (its `cmds_max` is 128).
pub(crate) const SESSION_LIMITS: SessionLimits = SessionLimits {
    window: 128,
    immediate_max: 16,
    solicited_bytes_max: 8 << 20,
    unsent_bytes_max: 4 << 20,
};

/// An initiator that was asked to log out has so many seconds.
const LEAVE_SECONDS: u16 = 3;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionEnd {
    #[error("the initiator logged out")]
    LoggedOut,
    #[error("the initiator closed the connection")]
    Closed,
    #[error("the server is shutting down")]
    Shutdown,
    #[error("the target's owner cut the connection")]
    Cut,
    #[error("the initiator logged in again")]
    Replaced,
    #[error("the volume has moved, and the initiator did not log out")]
    Moved,
    #[error("another initiator has reset the target")]
    Reset,
    #[error("a PDU was begun and not finished in time")]
    SlowPdu,
    #[error("the initiator did not take its answers in time")]
    SlowReader,
    #[error("the target has no room for another session")]
    NoRoom,
    #[error("the initiator broke the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the initiator broke the protocol: {0}")]
    Fault(#[from] Fault),
    #[error("the connection failed: {0}")]
    Network(#[from] io::Error),
}

/// Runs a session to its end.
pub(crate) async fn run(
    stream: Stream,
    logged_in: LoggedIn,
    targets: Arc<dyn Targets>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) -> SessionEnd {
    let LoggedIn { established, seat, opened, decoder, inbox } = logged_in;
    let key = established.key.clone();
    let (disk, cut) = match opened {
        None => (None, CancellationToken::new()),
        Some(opened) => {
            let port = InitiatorPort::iscsi(key.initiator.as_str(), key.isid.0);
            let joined = port.ok().and_then(|port| opened.unit.join(port).ok());
            let Some(membership) = joined else { return SessionEnd::NoRoom };
            (Some(Disk { membership, medium: opened.medium }), opened.cut)
        }
    };
    let portal = portal_of(&stream);
    let mut engine = Engine {
        stream,
        portal,
        decoder,
        inbox,
        session: Session::new(established, SESSION_LIMITS),
        targets,
        disk,
        commands: Commands::default(),
        running: FuturesUnordered::new(),
        settling: FuturesUnordered::new(),
        aborting: Vec::new(),
        hushing: Vec::new(),
        departure: Deadline::new(),
        is_leaving: false,
        ending: None,
        buffered: limits.buffered_total.part(),
        awake: Awake::new(limits.attention.clone()),
        deadline: Deadline::new(),
        cut: Box::pin(cut.cancelled_owned()),
        replaced: Box::pin(seat.replaced().clone().cancelled_owned()),
        shutdown: Box::pin(shutdown.cancelled_owned()),
        limits,
    };
    let end = poll_fn(|cx| engine.poll(cx)).await;
    let Engine { stream, mut running, settling, disk, .. } = engine;
    // Two sessions that have ended must not wait for each other.
    drop(settling);
    match end {
        SessionEnd::Cut | SessionEnd::Replaced => stream.cut(),
        _ => drop(stream),
    }
    // What was begun at the medium is waited for, though nobody is left to be told.
    while running.next().await.is_some() {}
    drop((disk, seat));
    end
}

fn portal_of(stream: &Stream) -> Option<PortalAddress> {
    let Stream::Tcp(stream) = stream else { return None };
    let address = stream.local_addr().ok()?;
    PortalAddress::new(&address.ip().to_string(), address.port()).ok()
}

/// A target's disk, as one session has it.
struct Disk {
    membership: Membership,
    medium: Arc<dyn Medium>,
}

struct Engine {
    stream: Stream,
    decoder: Decoder,
    inbox: BytesMut,
    session: Session,
    targets: Arc<dyn Targets>,
    /// Where the initiator has come to.
    portal: Option<PortalAddress>,
    /// `None` in a discovery session.
    disk: Option<Disk>,
    commands: Commands,
    /// What goes on at the medium.
    running: FuturesUnordered<Running>,
    /// What waits for other sessions, or for a state to be kept.
    settling: FuturesUnordered<Running>,
    /// Others wait until commands that were aborted have ended ...
    aborting: Vec<oneshot::Sender<()>>,
    /// ... or until no command is left.
    hushing: Vec<oneshot::Sender<()>>,
    /// Runs once the initiator was asked to log out.
    departure: Deadline,
    is_leaving: bool,
    /// No more commands are begun; when all is answered and sent, the session ends for this reason.
    ending: Option<SessionEnd>,
    buffered: BufferedPart,
    awake: Awake,
    deadline: Deadline,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    replaced: Pin<Box<WaitForCancellationFutureOwned>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    limits: Arc<Limits>,
}

impl Engine {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(SessionEnd::Cut);
        }
        if self.replaced.as_mut().poll(cx).is_ready() {
            return Poll::Ready(SessionEnd::Replaced);
        }
        if self.ending.is_none() && self.shutdown.as_mut().poll(cx).is_ready() {
            self.session.drain();
            self.ending = Some(SessionEnd::Shutdown);
        }
        match self.turn(cx) {
            Err(end) => Poll::Ready(end),
            Ok(()) if self.poll_departure(cx).is_ready() => Poll::Ready(SessionEnd::Moved),
            Ok(()) => self.poll_deadline(cx),
        }
    }

    /// Does all that can be done now.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), SessionEnd> {
        let mut has_waited = false;
        loop {
            self.take_orders(cx);
            self.take_pdus()?;
            self.carry_on(cx);
            self.obey();
            let sent = self.send(cx)?;
            let received = self.receive(cx)?;
            self.account();
            if self.is_over() {
                return Err(self.ending.take().unwrap_or(SessionEnd::Closed));
            }
            if sent || received {
                continue;
            }
            if has_waited {
                // Others have their turn before this one waits again.
                cx.waker().wake_by_ref();
                return Ok(());
            }
            if !self.stay_awake()? {
                return Ok(());
            }
            has_waited = true;
        }
    }

    /// Waits a moment for the next command, if that is likely to be worth it. True when something has
    /// come.
    fn stay_awake(&mut self) -> Result<bool, SessionEnd> {
        let is_idle = self.ending.is_none()
            && self.goes_on_nowhere()
            && self.inbox.is_empty()
            && self.session.output().is_empty();
        match self.awake.wait(is_idle, &self.stream, &mut self.inbox)? {
            Some(0) => Err(SessionEnd::Closed),
            come => Ok(come.is_some()),
        }
    }

    fn is_over(&mut self) -> bool {
        let done = self.goes_on_nowhere() && self.session.is_idle();
        self.ending.is_some() && done && self.session.output().is_empty()
    }

    fn goes_on_nowhere(&self) -> bool {
        self.running.is_empty() && self.settling.is_empty()
    }

    /// Begins what may begin and takes what has ended, as long as one leads to the other. Everything that
    /// goes on is polled after it has begun.
    fn carry_on(&mut self, cx: &mut Context<'_>) {
        loop {
            self.begin_commands();
            if let Poll::Ready(Some(ended)) = self.running.poll_next_unpin(cx) {
                self.take(ended);
            } else if let Poll::Ready(Some(ended)) = self.settling.poll_next_unpin(cx) {
                self.take(ended);
            } else {
                return;
            }
        }
    }

    fn take(&mut self, ended: Ended) {
        match ended {
            Ended::Work(work) => self.finish(*work),
            Ended::Settled(settled) => self.settled(*settled),
            Ended::Managed(id, result) => self.session.managed(id, result),
        }
    }

    fn take_pdus(&mut self) -> Result<(), SessionEnd> {
        while self.session.wants_input() {
            let Some(pdu) = self.decoder.decode(&mut self.inbox)? else { break };
            self.deadline.disarm();
            self.awake.took();
            self.session.handle(pdu)?;
            self.take_events();
        }
        self.take_events();
        Ok(())
    }

    fn take_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Command(command) => self.queue(command),
                Event::Data { task, data, .. } => self.data(task, data),
                Event::Aborted(task) => self.aborted(task),
                Event::Manage { id, function, lun } => self.manage(id, function, lun),
                Event::SendTargets { id, query } => {
                    let initiator = &self.session.key().initiator;
                    let mut targets = self.targets.list(initiator);
                    self.name_portals(&mut targets);
                    if let TargetQuery::One(name) = query {
                        targets.retain(|target| target.name == name);
                    }
                    self.session.tell_targets(id, &targets);
                }
                Event::Pong => {}
                Event::LoggedOut => self.ending = Some(SessionEnd::LoggedOut),
            }
        }
    }

    /// A target that is nowhere else is where the initiator has come to.
    fn name_portals(&self, targets: &mut [TargetEntry]) {
        let Some(portal) = &self.portal else { return };
        for target in targets.iter_mut().filter(|target| target.portals.is_empty()) {
            target.portals.push((portal.clone(), self.session.key().portal_group));
        }
    }

    fn account(&mut self) {
        let unsent = self.session.output().remaining();
        self.buffered.set(self.commands.charged() + (unsent + self.inbox.len()) as u64);
    }

    /// Sends once. True when something went.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        if self.session.output().is_empty() {
            return Ok(false);
        }
        match poll_write_buf(Pin::new(&mut self.stream), cx, self.session.output()) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(SessionEnd::Closed),
            Poll::Ready(Ok(_)) => Ok(true),
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// Receives once. True when something came.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        if !self.wants_input() {
            return Ok(false);
        }
        let missing = self.decoder.missing(&self.inbox);
        match self.stream.poll_receive(cx, &mut self.inbox, missing) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(SessionEnd::Closed),
            Poll::Ready(Ok(_)) => Ok(true),
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    fn wants_input(&self) -> bool {
        self.session.wants_input() && !matches!(self.ending, Some(SessionEnd::LoggedOut))
    }

    /// Ready when an initiator that was asked to log out has not.
    fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_leaving {
            return Poll::Pending;
        }
        self.departure.poll(cx, Duration::from_secs(LEAVE_SECONDS.into()))
    }

    /// A PDU that has begun has to come whole in time, and the last answers have to be taken in time.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        let unsent = !self.session.output().is_empty();
        let is_inside = self.wants_input() && self.decoder.is_inside(&self.inbox);
        let waits = if self.ending.is_some() { unsent } else { is_inside };
        if !waits {
            self.deadline.disarm();
            return Poll::Pending;
        }
        let slow = self.deadline.poll(cx, self.limits.frame_timeout);
        slow.map(|()| if unsent { SessionEnd::SlowReader } else { SessionEnd::SlowPdu })
    }
}
