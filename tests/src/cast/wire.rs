//! As much of NBD as it takes to see which requests pass by, and which answers.

use std::ops::ControlFlow;

/// `IHAVEOPT`, which begins an option of the client.
const OPTION: u64 = 0x4948_4156_454f_5054;
/// What begins an answer to an option.
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const EXTENDED_REQUEST: u32 = 0x21e4_1c71;
const SIMPLE_REPLY: u32 = 0x6744_6698;
const STRUCTURED_REPLY: u32 = 0x668e_33ef;
const EXTENDED_REPLY: u32 = 0x6e8a_278c;

/// The commands that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `NBD_CMD_READ`
    Read,
    /// `NBD_CMD_WRITE`
    Write,
    /// `NBD_CMD_WRITE_ZEROES`
    WriteZeroes,
    /// `NBD_CMD_BLOCK_STATUS`
    BlockStatus,
    /// Any other.
    Other(u16),
}

/// What passed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// A request, from the client.
    Request {
        /// What it asks for.
        command: Command,
        /// Its number.
        cookie: u64,
        /// Its first byte on the volume.
        offset: u64,
        /// How many bytes it is about.
        length: u64,
    },
    /// The last part of an answer, from the server.
    Answer {
        /// Number of the request.
        cookie: u64,
    },
    /// Something that is not understood; nothing after it is.
    Unknown,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    Client,
    Server,
}

/// One direction of a connection, taken apart as it arrives.
pub(super) struct Ear {
    speaker: Speaker,
    bytes: Vec<u8>,
    /// Bytes that mean nothing here: greetings, and payloads not yet passed.
    skip: usize,
}

impl Ear {
    pub(super) fn new(speaker: Speaker) -> Self {
        // The client's flags; the server's greeting.
        let skip = if speaker == Speaker::Client { 4 } else { 18 };
        Self { speaker, bytes: Vec::new(), skip }
    }

    /// Takes more bytes in; gives what they complete.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Vec<Passing> {
        self.bytes.extend_from_slice(bytes);
        let mut passing = Vec::new();
        loop {
            let skipped = self.skip.min(self.bytes.len());
            self.bytes.drain(..skipped);
            self.skip -= skipped;
            let header = match self.speaker {
                _ if self.skip > 0 || self.bytes.len() < 8 => return passing,
                Speaker::Client => request(&self.bytes),
                Speaker::Server => answer(&self.bytes),
            };
            match header {
                ControlFlow::Continue(()) => return passing,
                ControlFlow::Break((length, heard)) => {
                    self.skip = length;
                    passing.extend(heard);
                }
            }
        }
    }
}

/// A whole header: how many bytes to pass over, with its payload, and what it says.
type Header = ControlFlow<(usize, Option<Passing>)>;

fn request(bytes: &[u8]) -> Header {
    if number::<8>(bytes, 0) == OPTION {
        return option(bytes, 16);
    }
    let (length_size, header) = match number::<4>(bytes, 0) as u32 {
        REQUEST => (4, 28),
        EXTENDED_REQUEST => (8, 32),
        _ => return ControlFlow::Break((usize::MAX, Some(Passing::Unknown))),
    };
    if bytes.len() < header {
        return ControlFlow::Continue(());
    }
    let command = match number::<2>(bytes, 6) as u16 {
        0 => Command::Read,
        1 => Command::Write,
        6 => Command::WriteZeroes,
        7 => Command::BlockStatus,
        other => Command::Other(other),
    };
    let length = if length_size == 4 { number::<4>(bytes, 24) } else { number::<8>(bytes, 24) };
    let payload = if command == Command::Write { length as usize } else { 0 };
    let (cookie, offset) = (number::<8>(bytes, 8), number::<8>(bytes, 16));
    let heard = Passing::Request { command, cookie, offset, length };
    ControlFlow::Break((header + payload, Some(heard)))
}

fn answer(bytes: &[u8]) -> Header {
    if number::<8>(bytes, 0) == OPTION_REPLY {
        return option(bytes, 20);
    }
    let header = match number::<4>(bytes, 0) as u32 {
        SIMPLE_REPLY => 16,
        STRUCTURED_REPLY => 20,
        EXTENDED_REPLY => 32,
        _ => return ControlFlow::Break((usize::MAX, Some(Passing::Unknown))),
    };
    if bytes.len() < header {
        return ControlFlow::Continue(());
    }
    let cookie = number::<8>(bytes, 8);
    let payload = match header {
        16 => 0,
        20 => number::<4>(bytes, 16),
        _ => number::<8>(bytes, 24),
    };
    let is_last = header == 16 || number::<2>(bytes, 4) & 1 == 1;
    let heard = is_last.then_some(Passing::Answer { cookie });
    ControlFlow::Break((header + payload as usize, heard))
}

/// An option or its answer: the length of its data ends the header.
fn option(bytes: &[u8], header: usize) -> Header {
    match bytes.len() >= header {
        true => ControlFlow::Break((header + number::<4>(bytes, header - 4) as usize, None)),
        false => ControlFlow::Continue(()),
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + N].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
