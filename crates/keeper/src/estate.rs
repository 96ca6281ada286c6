//! What a keeper leaves to another keeper beside its clients' sockets: how each conversation stands.
//!
//! ```text
//!   magic: 8 | version: u16 | clock: u64 | next client: u64 | listen | bound | clients: u32 | client*
//!   client:  number: u64 | peer | ended: u8 | incarnation: u16 | pass | begun: u64 | pieces | outgoing
//!   pieces:  count: u32 | (arrival: u64 | bytes)*
//! ```
//!
//! Big-endian; bytes and texts have their length before them, u32 and u8. A successor of any later
//! version reads it.

use std::io::{self, Write};
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes};

use crate::message::{BadMessage, ClientId, bad, get_peer, get_text, put_peer, put_text};
use crate::talk::{Talk, TalkParts};

const MAGIC: u64 = 0x6266_6b65_6570_6572;
const VERSION: u16 = 1;

/// See the module.
#[derive(Debug, Default)]
pub struct Estate {
    /// Where the clients come in, as the keeper was told to listen.
    pub listen: String,
    /// What the last worker said of what it had bound.
    pub(crate) bound: String,
    /// How much was received from clients.
    pub(crate) clock: u64,
    /// The number of the next client.
    pub(crate) next: ClientId,
    /// The clients, in the order of their numbers.
    pub(crate) clients: Vec<Left>,
}

/// A client as it was left.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) client: ClientId,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) talk: Talk,
}

/// Why an estate cannot be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEstate {
    /// Another's, or cut off.
    #[error("this is not what a keeper leaves")]
    Foreign,
    /// Of a version that this program does not read.
    #[error("a keeper of version {0} left this, and version {VERSION} is read here")]
    Version(u16),
}

impl From<BadMessage> for BadEstate {
    fn from(_: BadMessage) -> Self {
        Self::Foreign
    }
}

impl Estate {
    /// The clients' numbers, with who they are.
    pub fn clients(&self) -> impl Iterator<Item = (ClientId, Option<SocketAddr>)> {
        self.clients.iter().map(|left| (left.client, left.peer))
    }

    /// Writes it down.
    ///
    /// # Errors
    /// As the writer has them.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut head = Vec::new();
        head.put_u64(MAGIC);
        head.put_u16(VERSION);
        head.put_u64(self.clock);
        head.put_u64(self.next);
        put_text(&mut head, &self.listen);
        put_text(&mut head, &self.bound);
        head.put_u32(count(self.clients.len()));
        to.write_all(&head)?;
        self.clients.iter().try_for_each(|left| left.write(to))
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// When it is none, or of a later version.
    pub fn read(mut from: Bytes) -> Result<Self, BadEstate> {
        if from.try_get_u64().map_err(bad)? != MAGIC {
            return Err(BadEstate::Foreign);
        }
        let version = from.try_get_u16().map_err(bad)?;
        if version != VERSION {
            return Err(BadEstate::Version(version));
        }
        let clock = from.try_get_u64().map_err(bad)?;
        let next = from.try_get_u64().map_err(bad)?;
        let (listen, bound) = (get_text(&mut from)?, get_text(&mut from)?);
        let count = from.try_get_u32().map_err(bad)?;
        let clients = (0..count).map(|_| Left::read(&mut from)).collect::<Result<_, _>>()?;
        if from.is_empty() {
            Ok(Self { listen, bound, clock, next, clients })
        } else {
            Err(BadEstate::Foreign)
        }
    }
}

impl Left {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let parts = self.talk.parts();
        let mut head = Vec::new();
        head.put_u64(self.client);
        put_peer(&mut head, self.peer);
        head.put_u8(parts.ended.into());
        head.put_u16(parts.incarnation);
        head.put_u8(parts.pass.is_some().into());
        to.write_all(&head)?;
        write_bytes(to, parts.pass.as_deref().unwrap_or_default())?;
        to.write_all(&parts.begun.to_be_bytes())?;
        to.write_all(&count(parts.pieces.len()).to_be_bytes())?;
        for (arrival, bytes) in &parts.pieces {
            to.write_all(&arrival.to_be_bytes())?;
            write_bytes(to, bytes)?;
        }
        write_bytes(to, &parts.outgoing)
    }

    fn read(from: &mut Bytes) -> Result<Self, BadMessage> {
        let client = from.try_get_u64().map_err(bad)?;
        let peer = get_peer(from)?;
        let ended = from.try_get_u8().map_err(bad)? != 0;
        let incarnation = from.try_get_u16().map_err(bad)?;
        let has_pass = from.try_get_u8().map_err(bad)? != 0;
        let pass = read_bytes(from)?;
        let begun = from.try_get_u64().map_err(bad)?;
        let count = from.try_get_u32().map_err(bad)?;
        let pieces = (0..count).map(|_| read_piece(from)).collect::<Result<_, _>>()?;
        let (pass, outgoing) = (has_pass.then_some(pass), read_bytes(from)?);
        let parts = TalkParts { ended, incarnation, pass, begun, pieces, outgoing };
        Ok(Self { client, peer, talk: parts.into() })
    }
}

fn read_piece(from: &mut Bytes) -> Result<(u64, Bytes), BadMessage> {
    Ok((from.try_get_u64().map_err(bad)?, read_bytes(from)?))
}

fn read_bytes(from: &mut Bytes) -> Result<Bytes, BadMessage> {
    let length = from.try_get_u32().map_err(bad)? as usize;
    if from.len() < length { Err(BadMessage) } else { Ok(from.split_to(length)) }
}

fn write_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&count(bytes.len()).to_be_bytes())?;
    to.write_all(bytes)
}

/// Whatever a keeper holds has a limit far below.
fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a keeper's limits are below 4 GiB")
}

#[cfg(test)]
mod tests;
