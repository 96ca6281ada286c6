//! The login of one connection, over its socket: who is there, and then whether it is let in. Who serves
//! only some by itself hands the others over in between.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use blockferry_iscsi::{
    Admission, Decoder, Established, FrameError, Inquiry, Login, LoginStep, Offer, Pdu,
    PortalGroup, Refusal,
};
use blockferry_net::{Limits, Peer, Stream};
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use crate::session::SESSION_LIMITS;
use crate::sessions::{Seat, Sessions};
use crate::targets::{Opened, Targets};

/// The one portal group: every address of a server serves all its targets.
pub const PORTAL_GROUP: PortalGroup = PortalGroup(1);

/// A connection that has logged in.
pub(crate) struct LoggedIn {
    pub(crate) established: Established,
    pub(crate) seat: Seat,
    /// `None` in a discovery session.
    pub(crate) opened: Option<Opened>,
    pub(crate) decoder: Decoder,
    pub(crate) inbox: BytesMut,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginEnd {
    /// The connection was closed.
    #[error("the connection was closed")]
    Closed,
    /// It took too long.
    #[error("it took too long")]
    Late,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Shutdown,
    /// The initiator was turned away.
    #[error("the initiator was refused: {0}")]
    Refused(Refusal),
    /// What came is no iSCSI.
    #[error("the initiator broke the protocol: {0}")]
    Protocol(#[from] FrameError),
    /// What the operating system says.
    #[error("the connection failed: {0}")]
    Network(#[from] io::Error),
}

/// An initiator that has said who it is and what it wants, and waits to be told whether it is let in.
#[derive(Debug)]
pub struct Arrival {
    stream: Stream,
    login: Login,
    decoder: Decoder,
    inbox: BytesMut,
    said: Vec<Pdu>,
    who: Inquiry,
}

/// What another server needs to go on with an [`Arrival`].
#[derive(Debug)]
pub struct Handed {
    /// The initiator's connection.
    pub stream: Stream,
    /// What it has sent behind [`Arrival::said`].
    pub unread: BytesMut,
}

impl Arrival {
    /// Lets an initiator say who it is.
    ///
    /// # Errors
    /// Why there will be no session.
    pub async fn greet(
        stream: Stream,
        limits: &Limits,
        shutdown: &CancellationToken,
    ) -> Result<Self, LoginEnd> {
        in_time(limits, shutdown, Self::listen(stream)).await
    }

    async fn listen(mut stream: Stream) -> Result<Self, LoginEnd> {
        let mut login = Login::new(Offer::default(), PORTAL_GROUP, SESSION_LIMITS);
        let (mut decoder, mut inbox, mut said) = (Decoder::new(), BytesMut::new(), Vec::new());
        loop {
            let pdu = next_pdu(&mut stream, &mut decoder, &mut inbox).await?;
            let step = login.handle(&pdu);
            said.push(pdu);
            if let LoginStep::Ask(who) = step {
                return Ok(Self { stream, login, decoder, inbox, said, who });
            }
            stream.write_all_buf(login.output()).await?;
            if let LoginStep::Refused(refusal) = step {
                return Err(LoginEnd::Refused(refusal));
            }
        }
    }

    /// Who it says it is, and what it wants.
    pub const fn who(&self) -> &Inquiry {
        &self.who
    }

    /// All of its login so far. Every request but the last was answered, with nothing to read in it.
    pub fn said(&self) -> &[Pdu] {
        &self.said
    }

    /// Where it comes from.
    pub fn peer(&self) -> Peer {
        self.stream.peer()
    }

    /// Turns it away.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn refuse(mut self, refusal: Refusal) -> io::Result<()> {
        self.login.answer(Admission::Refuse(refusal));
        self.stream.write_all_buf(self.login.output()).await
    }

    /// Leaves it to another server.
    pub fn hand_over(self) -> Handed {
        let Self { stream, inbox, .. } = self;
        Handed { stream, unread: inbox }
    }

    /// Logs it in, if it may.
    pub(crate) async fn log_in(
        self,
        targets: &dyn Targets,
        sessions: &Arc<Sessions>,
        limits: &Limits,
        shutdown: &CancellationToken,
    ) -> Result<(Stream, LoggedIn), LoginEnd> {
        in_time(limits, shutdown, self.converse(targets, sessions)).await
    }

    async fn converse(
        mut self,
        targets: &dyn Targets,
        sessions: &Arc<Sessions>,
    ) -> Result<(Stream, LoggedIn), LoginEnd> {
        let admitted = admit(targets, sessions, &self.who);
        let (admission, seat) = match admitted {
            Ok((admission, seat)) => (admission, Some(seat)),
            Err(refusal) => (Admission::Refuse(refusal), None),
        };
        let established = self.establish(admission).await?;
        let seat = seat.expect("nobody is established who was not let in");
        seat.establish(established.key.clone()).await;
        let Self { mut stream, mut login, mut decoder, inbox, who, .. } = self;
        let opened = match &who.target {
            Some(target) => Some(targets.open(target, &who).await.map_err(LoginEnd::Refused)?),
            None => None,
        };
        stream.write_all_buf(login.output()).await?;
        decoder.set(established.parameters.digests, established.parameters.target_segment_max);
        Ok((stream, LoggedIn { established, seat, opened, decoder, inbox }))
    }

    /// Goes on until there is a session, of which the initiator has not been told.
    async fn establish(&mut self, admission: Admission) -> Result<Established, LoginEnd> {
        let mut step = self.login.answer(admission);
        loop {
            if let LoginStep::Established(established) = step {
                return Ok(*established);
            }
            self.stream.write_all_buf(self.login.output()).await?;
            if let LoginStep::Refused(refusal) = step {
                return Err(LoginEnd::Refused(refusal));
            }
            let pdu = next_pdu(&mut self.stream, &mut self.decoder, &mut self.inbox).await?;
            step = self.login.handle(&pdu);
        }
    }
}

fn admit(
    targets: &dyn Targets,
    sessions: &Arc<Sessions>,
    who: &Inquiry,
) -> Result<(Admission, Seat), Refusal> {
    let chap = targets.admit(who)?;
    let seat = sessions.seat().ok_or(Refusal::OutOfResources)?;
    Ok((Admission::Serve { tsih: seat.tsih(), chap }, seat))
}

async fn in_time<T>(
    limits: &Limits,
    shutdown: &CancellationToken,
    step: impl Future<Output = Result<T, LoginEnd>>,
) -> Result<T, LoginEnd> {
    tokio::select! {
        ended = tokio::time::timeout(limits.handshake_timeout, step) => {
            ended.unwrap_or(Err(LoginEnd::Late))
        }
        () = shutdown.cancelled() => Err(LoginEnd::Shutdown),
    }
}

/// The next PDU of a connection.
///
/// # Errors
/// When it ends, or its stream cannot go on.
pub async fn next_pdu(
    stream: &mut Stream,
    decoder: &mut Decoder,
    inbox: &mut BytesMut,
) -> Result<Pdu, LoginEnd> {
    loop {
        if let Some(pdu) = decoder.decode(inbox)? {
            return Ok(pdu);
        }
        let missing = decoder.missing(inbox);
        if poll_fn(|cx| stream.poll_receive(cx, inbox, missing)).await? == 0 {
            return Err(LoginEnd::Closed);
        }
    }
}
