//! Carries a file over two TCP connections, and does nothing else: what `blockferry-bench` holds a copy
//! between two servers against that goes through a third program.
//!
//! Usage: `bare_relay read FILE TO`, `bare_relay pass FROM TO` or `bare_relay write FROM FILE`, each a
//! program of its own; FROM is an address to listen at, TO one to call.

use std::error::Error;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Moved at once, in bytes: the quickest of 64 KiB to 4 MiB where this was tried.
const PIECE: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["read", file, to] => carry(File::open(file)?, call(to)?)?,
        ["pass", from, to] => carry(listen(from)?, call(to)?)?,
        ["write", from, file] => carry(Whole(listen(from)?), File::create(file)?)?,
        _ => return Err("usage: bare_relay read FILE TO | pass FROM TO | write FROM FILE".into()),
    }
    Ok(())
}

fn listen(at: &str) -> std::io::Result<TcpStream> {
    Ok(TcpListener::bind(at)?.accept()?.0)
}

/// Whoever listens may have been started at the same time.
fn call(to: &str) -> std::io::Result<TcpStream> {
    loop {
        match TcpStream::connect(to) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::thread::yield_now(),
            connected => return connected,
        }
    }
}

/// Reads as much as there is room for: a file is written in whole pages.
struct Whole(TcpStream);

impl Read for Whole {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < room.len() {
            match self.0.read(&mut room[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }
}

fn carry(mut from: impl Read, mut to: impl Write) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            count => to.write_all(&piece[..count])?,
        }
    }
}
