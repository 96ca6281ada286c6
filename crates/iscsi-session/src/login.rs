//! The login of one connection, over its socket.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use blockferry_iscsi::{
    Admission, Decoder, Established, FrameError, Inquiry, Login, LoginStep, Offer, Pdu,
    PortalGroup, Refusal,
};
use blockferry_net::{Limits, Stream};
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
pub(crate) enum LoginEnd {
    #[error("the connection was closed")]
    Closed,
    #[error("it took too long")]
    Late,
    #[error("the server is shutting down")]
    Shutdown,
    #[error("the initiator was refused: {0}")]
    Refused(Refusal),
    #[error("the initiator broke the protocol: {0}")]
    Protocol(#[from] FrameError),
    #[error("the connection failed: {0}")]
    Network(#[from] io::Error),
}

/// Logs an initiator in.
pub(crate) async fn log_in(
    stream: &mut Stream,
    targets: &dyn Targets,
    sessions: &Arc<Sessions>,
    limits: &Limits,
    shutdown: &CancellationToken,
) -> Result<LoggedIn, LoginEnd> {
    tokio::select! {
        ended = tokio::time::timeout(limits.handshake_timeout, converse(stream, targets, sessions)) => {
            ended.unwrap_or(Err(LoginEnd::Late))
        }
        () = shutdown.cancelled() => Err(LoginEnd::Shutdown),
    }
}

/// One that is under way.
struct Conversation<'a> {
    stream: &'a mut Stream,
    login: Login,
    decoder: Decoder,
    inbox: BytesMut,
    /// Who was let in, so far as it says the truth.
    entered: Option<(Inquiry, Seat)>,
}

async fn converse(
    stream: &mut Stream,
    targets: &dyn Targets,
    sessions: &Arc<Sessions>,
) -> Result<LoggedIn, LoginEnd> {
    let login = Login::new(Offer::default(), PORTAL_GROUP, SESSION_LIMITS);
    let (decoder, inbox) = (Decoder::new(), BytesMut::new());
    let mut conversation = Conversation { stream, login, decoder, inbox, entered: None };
    let established = conversation.establish(targets, sessions).await?;
    let Conversation { stream, mut login, mut decoder, inbox, entered } = conversation;
    let (who, seat) = entered.expect("nobody is established who was not let in");
    seat.establish(established.key.clone()).await;
    let opened = match &who.target {
        Some(target) => Some(targets.open(target, &who).await.map_err(LoginEnd::Refused)?),
        None => None,
    };
    stream.write_all_buf(login.output()).await?;
    decoder.set(established.parameters.digests, established.parameters.target_segment_max);
    Ok(LoggedIn { established, seat, opened, decoder, inbox })
}

impl Conversation<'_> {
    /// Goes on until there is a session, of which the initiator has not been told.
    async fn establish(
        &mut self,
        targets: &dyn Targets,
        sessions: &Arc<Sessions>,
    ) -> Result<Established, LoginEnd> {
        loop {
            let pdu = self.next().await?;
            let mut step = self.login.handle(&pdu);
            if let LoginStep::Ask(who) = step {
                let admission = self.admit(targets, sessions, who);
                step = self.login.answer(admission.unwrap_or_else(Admission::Refuse));
            }
            if let LoginStep::Established(established) = step {
                return Ok(*established);
            }
            self.stream.write_all_buf(self.login.output()).await?;
            if let LoginStep::Refused(refusal) = step {
                return Err(LoginEnd::Refused(refusal));
            }
        }
    }

    fn admit(
        &mut self,
        targets: &dyn Targets,
        sessions: &Arc<Sessions>,
        who: Inquiry,
    ) -> Result<Admission, Refusal> {
        let chap = targets.admit(&who)?;
        let seat = sessions.seat().ok_or(Refusal::OutOfResources)?;
        let tsih = seat.tsih();
        self.entered = Some((who, seat));
        Ok(Admission::Serve { tsih, chap })
    }

    async fn next(&mut self) -> Result<Pdu, LoginEnd> {
        loop {
            if let Some(pdu) = self.decoder.decode(&mut self.inbox)? {
                return Ok(pdu);
            }
            let missing = self.decoder.missing(&self.inbox);
            let received = poll_fn(|cx| self.stream.poll_receive(cx, &mut self.inbox, missing));
            if received.await? == 0 {
                return Err(LoginEnd::Closed);
            }
        }
    }
}
