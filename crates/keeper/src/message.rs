//! What keeper and worker tell each other beside the clients' streams. One message is one packet of
//! their socket; a client's socket travels with the message that announces it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};

use crate::frame::PASS_BYTES_MAX;
use crate::talk::Resume;

/// Version of everything that passes between keeper and worker. A keeper that meets another version
/// keeps its worker and refuses the new one: only a restart of the keeper can bring that in.
pub const PROTOCOL: u16 = 4;

/// Longest packet, in bytes: a pass and some fixed fields.
pub const MESSAGE_BYTES_MAX: usize = PASS_BYTES_MAX + 1024;

/// A worker that serves says that it lives after so long each time.
pub const ALIVE_EVERY: Duration = Duration::from_secs(2);

/// A client's number with its keeper.
pub type ClientId = u64;

/// From the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToWorker {
    /// Open what has to be opened; nobody else has it any more.
    Begin {
        /// How many workers there have been.
        run: u64,
        /// Where clients connect.
        listen: String,
        /// What the last worker said of what it had bound; empty for the first one.
        bound: String,
    },
    /// A client that was served by another before. With a socket to the keeper and, where it will be
    /// lent, its own and memory for a record.
    Resume(ClientId, Option<SocketAddr>, Resume),
    /// There are no more clients of another.
    Complete,
    /// A new client. With the same.
    Client(ClientId, Option<SocketAddr>),
    /// Take no more requests, answer those under way, and leave the rest to another.
    HandOver,
    /// Take no more requests, answer those under way, and end every connection.
    ShutDown,
    /// Why no new client can come in, in one line; empty when all can again.
    Shut(String),
}

/// From the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToKeeper {
    /// The worker has understood its settings and can begin.
    Hello(u16),
    /// Everything is open: clients can be served. With what another worker has to know of what this one
    /// has bound by itself.
    Ready(String),
    /// The connection is over for its client, too.
    Ended {
        /// Which.
        client: ClientId,
        /// What was not sent yet is thrown away.
        cut: bool,
    },
    /// It lives; said every [`ALIVE_EVERY`] while it serves.
    Alive,
}

/// A packet that is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message that cannot be understood")]
pub struct BadMessage;

impl ToWorker {
    /// As a packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Begin { run, listen, bound } => {
                out.put_u8(1);
                out.put_u64(*run);
                put_text(&mut out, listen);
                put_text(&mut out, bound);
            }
            Self::Resume(client, peer, resume) => {
                out.put_u8(2);
                out.put_u64(*client);
                put_peer(&mut out, *peer);
                out.put_u16(resume.incarnation);
                out.put_u64(resume.replay);
                out.put_slice(&resume.pass);
            }
            Self::Complete => out.put_u8(3),
            Self::Client(client, peer) => {
                out.put_u8(4);
                out.put_u64(*client);
                put_peer(&mut out, *peer);
            }
            Self::HandOver => out.put_u8(5),
            Self::ShutDown => out.put_u8(6),
            Self::Shut(why) => {
                out.put_u8(7);
                out.put_slice(why.as_bytes());
            }
        }
        out
    }

    /// From a packet.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(packet: Bytes) -> Result<Self, BadMessage> {
        let mut packet = packet;
        let message = match packet.try_get_u8().map_err(bad)? {
            1 => {
                let run = packet.try_get_u64().map_err(bad)?;
                let listen = get_text(&mut packet)?;
                Self::Begin { run, listen, bound: get_text(&mut packet)? }
            }
            2 => {
                let client = packet.try_get_u64().map_err(bad)?;
                let peer = get_peer(&mut packet)?;
                let incarnation = packet.try_get_u16().map_err(bad)?;
                let replay = packet.try_get_u64().map_err(bad)?;
                let pass = std::mem::take(&mut packet);
                Self::Resume(client, peer, Resume { incarnation, replay, pass })
            }
            3 => Self::Complete,
            4 => Self::Client(packet.try_get_u64().map_err(bad)?, get_peer(&mut packet)?),
            5 => Self::HandOver,
            6 => Self::ShutDown,
            7 => Self::Shut(String::from_utf8(std::mem::take(&mut packet).into()).map_err(bad)?),
            _ => return Err(BadMessage),
        };
        if packet.is_empty() { Ok(message) } else { Err(BadMessage) }
    }
}

impl ToKeeper {
    /// As a packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Hello(protocol) => {
                out.put_u8(1);
                out.put_u16(*protocol);
            }
            Self::Ready(bound) => {
                out.put_u8(2);
                put_text(&mut out, bound);
            }
            Self::Ended { client, cut } => {
                out.put_u8(3);
                out.put_u64(*client);
                out.put_u8((*cut).into());
            }
            Self::Alive => out.put_u8(4),
        }
        out
    }

    /// From a packet.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(packet: Bytes) -> Result<Self, BadMessage> {
        let mut packet = packet;
        let message = match packet.try_get_u8().map_err(bad)? {
            // Whatever a later version says behind its number.
            1 => return Ok(Self::Hello(packet.try_get_u16().map_err(bad)?)),
            2 => Self::Ready(get_text(&mut packet)?),
            3 => Self::Ended {
                client: packet.try_get_u64().map_err(bad)?,
                cut: packet.try_get_u8().map_err(bad)? != 0,
            },
            4 => Self::Alive,
            _ => return Err(BadMessage),
        };
        if packet.is_empty() { Ok(message) } else { Err(BadMessage) }
    }
}

pub(crate) fn put_peer(out: &mut Vec<u8>, peer: Option<SocketAddr>) {
    put_text(out, &peer.map(|peer| peer.to_string()).unwrap_or_default());
}

pub(crate) fn get_peer(packet: &mut Bytes) -> Result<Option<SocketAddr>, BadMessage> {
    let text = get_text(packet)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(bad) }
}

/// Addresses are far shorter than what fits; nothing else is text here.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.put_u8(length);
    out.put_slice(&text.as_bytes()[..usize::from(length)]);
}

pub(crate) fn get_text(packet: &mut Bytes) -> Result<String, BadMessage> {
    let length = usize::from(packet.try_get_u8().map_err(bad)?);
    if packet.len() < length {
        return Err(BadMessage);
    }
    String::from_utf8(packet.split_to(length).into()).map_err(bad)
}

pub(crate) fn bad<E>(_: E) -> BadMessage {
    BadMessage
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages() -> impl Strategy<Value = ToWorker> {
        let peer = proptest::option::of(any::<SocketAddr>());
        let pass = proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        let resume = (any::<u16>(), any::<u64>(), pass)
            .prop_map(|(incarnation, replay, pass)| Resume { incarnation, replay, pass });
        prop_oneof![
            (any::<u64>(), "[a-z:/]{0,60}", "[a-z:/]{0,60}")
                .prop_map(|(run, listen, bound)| ToWorker::Begin { run, listen, bound }),
            (any::<u64>(), peer.clone(), resume).prop_map(|(id, p, r)| ToWorker::Resume(id, p, r)),
            (any::<u64>(), peer).prop_map(|(id, peer)| ToWorker::Client(id, peer)),
            Just(ToWorker::Complete),
            Just(ToWorker::HandOver),
            Just(ToWorker::ShutDown),
            "[a-zä ]{0,300}".prop_map(ToWorker::Shut),
        ]
    }

    proptest! {
        #[test]
        fn the_keepers_messages_read_back_as_they_were_written(message in messages()) {
            // The scope and flow of an address have no text form; no client socket has them.
            let packet = message.encode();
            prop_assert_eq!(ToWorker::decode(packet.clone().into()).map(|m| m.encode()), Ok(packet));
        }

        #[test]
        fn a_packet_of_noise_breaks_nothing(noise in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = ToWorker::decode(noise.clone().into());
            let _ = ToKeeper::decode(noise.into());
        }
    }

    #[test]
    fn the_workers_messages_read_back_as_they_were_written() {
        let ended = |cut| ToKeeper::Ended { client: 7, cut };
        let ready = ToKeeper::Ready("127.0.0.1:10811".to_owned());
        for message in
            [ToKeeper::Hello(PROTOCOL), ready, ended(true), ended(false), ToKeeper::Alive]
        {
            assert_eq!(ToKeeper::decode(message.encode().into()), Ok(message));
        }
    }

    #[test]
    fn a_later_versions_hello_tells_its_version_whatever_else_it_says() {
        assert_eq!(ToKeeper::decode(Bytes::from_static(&[1, 0, 9, 1, 2])), Ok(ToKeeper::Hello(9)));
    }
}
