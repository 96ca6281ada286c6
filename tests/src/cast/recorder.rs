//! A wire between two programs that keeps what passes by: connections go on unchanged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::wire::{Ear, Passing, Speaker};

/// Another address of this machine. A program that is told to `--advertise` it is reached over a
/// recorder there.
pub const RECORDED_HOST: &str = "127.0.0.2";

/// What passed by, with the number of its connection, in one order for all connections: a request
/// before the server has it, an answer before the client has it.
type Tape = Arc<Mutex<Vec<(usize, Passing)>>>;

/// Recorders of all ports of one program.
pub struct Recorder {
    tape: Tape,
    _wires: JoinSet<()>,
}

impl Recorder {
    /// Listens at [`RECORDED_HOST`] on the port of each of these `HOST:PORT`, and connects to it for
    /// whoever comes. Only the first is expected to speak NBD, and recorded.
    ///
    /// # Panics
    /// When a port is taken.
    pub async fn start(addresses: [&str; 2]) -> Self {
        let tape = Tape::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let mut wires = JoinSet::new();
        for (address, tape) in addresses.into_iter().zip([Some(&tape), None]) {
            let port = address.rsplit(':').next().expect("HOST:PORT");
            let listener = TcpListener::bind(format!("{RECORDED_HOST}:{port}")).await;
            let listener = listener.expect("the same port of another address is free");
            let (address, tape) = (address.to_owned(), tape.cloned());
            wires.spawn(accept(listener, address, tape, Arc::clone(&connections)));
        }
        Self { tape, _wires: wires }
    }

    /// What passed by on connections with a request of this kind, each connection by itself.
    pub fn connections(&self, wanted: impl Fn(&Passing) -> bool) -> Vec<Vec<Passing>> {
        let tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let count = tape.iter().map(|(connection, _)| connection + 1).max().unwrap_or(0);
        let of = |number| {
            let mine = tape.iter().filter(move |(connection, _)| *connection == number);
            mine.map(|(_, passing)| *passing).collect::<Vec<_>>()
        };
        (0..count).map(of).filter(|connection| connection.iter().any(&wanted)).collect()
    }
}

async fn accept(
    listener: TcpListener,
    address: String,
    tape: Option<Tape>,
    connections: Arc<AtomicUsize>,
) {
    let mut wires = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(&address).await else { continue };
        let (client_in, client_out) = client.into_split();
        let (server_in, server_out) = server.into_split();
        let number = connections.fetch_add(1, Ordering::Relaxed);
        let tapes = [tape.clone(), tape.clone()].map(|tape| tape.map(|tape| (number, tape)));
        let [forth, back] = tapes;
        wires.spawn(carry(client_in, server_out, Speaker::Client, forth));
        wires.spawn(carry(server_in, client_out, Speaker::Server, back));
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    speaker: Speaker,
    tape: Option<(usize, Tape)>,
) {
    let (mut ear, mut bytes) = (Ear::new(speaker), vec![0; 64 << 10]);
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if let Some((number, tape)) = &tape {
            let heard = ear.hear(&bytes[..length]).into_iter().map(|passing| (*number, passing));
            tape.lock().unwrap_or_else(PoisonError::into_inner).extend(heard);
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
