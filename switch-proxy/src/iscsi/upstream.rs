//! An initiator's login, said again at the owner of its volume.

use std::io;
use std::time::Duration;

use blockferry_iscsi::pdu::{LoginResponse, LoginStatus};
use blockferry_iscsi::{Decoder, Opcode, Outbox, Pdu, PortalAddress, redirect};
use blockferry_iscsi_session::{LoginEnd, next_pdu};
use blockferry_net::{Address, Stream};
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// How long an owner may take to be reached and to answer a login. One that is being made the owner
/// takes a while (it lets initiators wait that come early).
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Servers that are followed one after another: longer chains are a loop.
const HOPS_MAX: usize = 4;

/// One side of a conversation that is a login still.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) stream: Stream,
    pub(crate) decoder: Decoder,
    pub(crate) unread: BytesMut,
}

/// An owner that has answered.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) side: Side,
    /// Where it is.
    pub(crate) at: PortalAddress,
    /// What it has answered; not where to go instead.
    pub(crate) answer: Pdu,
}

/// Whether a portal can be connected to.
///
/// # Errors
/// Why not.
pub(crate) async fn reach(at: &PortalAddress) -> Result<(), NoUpstream> {
    connect(at).await.map(drop).map_err(|error| NoUpstream::Failed(at.clone(), error))
}

async fn connect(at: &PortalAddress) -> Result<Stream, LoginEnd> {
    let address = Address::Tcp(at.host().to_owned(), at.port());
    let connected = timeout(CONNECT_MAX, Stream::connect(&address)).await;
    Ok(connected.map_err(|_| LoginEnd::Late)??)
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoUpstream {
    #[error("{0} does not answer")]
    Late(PortalAddress),
    #[error("{0}: {1}")]
    Failed(PortalAddress, LoginEnd),
    #[error("{0} sends logins to another server, which sends them on, and so on for ever")]
    Loop(PortalAddress),
    #[error("nobody has said where the volume's owner serves iSCSI")]
    Unknown,
}

impl Side {
    pub(crate) const fn new(stream: Stream, unread: BytesMut) -> Self {
        Self { stream, decoder: Decoder::new(), unread }
    }

    /// Sends a PDU of a login as it came.
    pub(crate) async fn say(&mut self, pdu: &Pdu) -> io::Result<()> {
        let mut out = Outbox::new();
        out.put_pdu(pdu.header, &pdu.ahs, &pdu.data);
        self.stream.write_all_buf(&mut out).await
    }

    pub(crate) async fn hear(&mut self) -> Result<Pdu, LoginEnd> {
        next_pdu(&mut self.stream, &mut self.decoder, &mut self.unread).await
    }
}

impl Upstream {
    /// Says the whole of a login that has come so far to the server at a portal, or to where that sends
    /// it.
    ///
    /// # Errors
    /// Why nobody has answered.
    pub(crate) async fn log_in(first: PortalAddress, said: &[Pdu]) -> Result<Self, NoUpstream> {
        let mut at = first.clone();
        for _ in 0..HOPS_MAX {
            let answered = timeout(ANSWER_MAX, converse(&at, said)).await;
            let (side, answer) = answered
                .map_err(|_| NoUpstream::Late(at.clone()))?
                .map_err(|error| NoUpstream::Failed(at.clone(), error))?;
            match redirect(&answer) {
                Some(elsewhere) => at = elsewhere,
                None => return Ok(Self { side, at, answer }),
            }
        }
        Err(NoUpstream::Loop(first))
    }

    /// Whether the server has no such volume (any more).
    pub(crate) fn has_no_such_volume(&self) -> bool {
        let gone = [LoginStatus::NOT_FOUND, LoginStatus::REMOVED];
        status(&self.answer).is_some_and(|status| gone.contains(&status))
    }
}

/// How a login stands after this response; `None` where it is none.
pub(crate) fn status(answer: &Pdu) -> Option<LoginStatus> {
    let is_response = answer.header.opcode() == Opcode::LOGIN_RESPONSE;
    is_response.then(|| LoginResponse::decode(&answer.header).status)
}

async fn converse(at: &PortalAddress, said: &[Pdu]) -> Result<(Side, Pdu), LoginEnd> {
    let mut side = Side::new(connect(at).await?, BytesMut::new());
    let (last, earlier) = said.split_last().ok_or(LoginEnd::Closed)?;
    for pdu in earlier {
        side.say(pdu).await?;
        let answer = side.hear().await?;
        if status(&answer) != Some(LoginStatus::SUCCESS) {
            return Ok((side, answer));
        }
    }
    side.say(last).await?;
    let answer = side.hear().await?;
    Ok((side, answer))
}
