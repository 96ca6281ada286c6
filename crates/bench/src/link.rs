//! A long link: TCP connections that are relayed with a delay and a limit on their bytes a second.
//!
//! It stands for a network between two hosts where the kernel has no emulation of one. What TCP makes
//! of such a link (slow start, loss) it does not show: both of its ends are near.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Bytes that are relayed at once, at most: small beside what the link holds.
const PIECE: usize = 64 << 10;

/// What a link can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// Bytes a second in each direction, all connections together.
    pub(crate) rate: f64,
    /// How long a byte is under way in one direction.
    pub(crate) delay: Duration,
}

/// One direction of the link.
struct Direction {
    line: Line,
    free_from: Mutex<Instant>,
}

impl Direction {
    fn new(line: Line) -> Self {
        Self { line, free_from: Mutex::new(Instant::now()) }
    }

    /// When so many bytes that are here now will have arrived.
    fn arrival(&self, bytes: usize, now: Instant) -> Instant {
        let mut free = self.free_from.lock().unwrap_or_else(PoisonError::into_inner);
        *free = (*free).max(now) + Duration::from_secs_f64(bytes as f64 / self.line.rate);
        *free + self.line.delay
    }

    /// Pieces that are under way at one time, at most: what the link holds, and as much in buffers
    /// before it.
    fn pieces_max(&self) -> usize {
        let held = self.line.rate * self.line.delay.as_secs_f64() * 2.0;
        (held / PIECE as f64).ceil() as usize * 2 + 2
    }
}

/// Relays what connects to `listen` to `server`, as long as this process lives.
pub(crate) fn relay(listen: SocketAddr, server: SocketAddr, line: Line) -> Result<()> {
    let listener =
        TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let directions = [Arc::new(Direction::new(line)), Arc::new(Direction::new(line))];
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A server that has gone shows as a connection that is closed at once.
            let _ = connect(&client, server, &directions);
        }
    });
    Ok(())
}

fn connect(
    client: &TcpStream,
    server: SocketAddr,
    [there, back]: &[Arc<Direction>; 2],
) -> Result<()> {
    let server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    one_way(client.try_clone()?, server.try_clone()?, there);
    one_way(server, client.try_clone()?, back);
    Ok(())
}

fn one_way(from: TcpStream, to: TcpStream, direction: &Arc<Direction>) {
    let (sender, receiver) = sync_channel(direction.pieces_max());
    let direction = Arc::clone(direction);
    std::thread::spawn(move || take_in(from, &sender, &direction));
    std::thread::spawn(move || hand_out(to, &receiver));
}

fn take_in(mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, direction: &Direction) {
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let arrival = direction.arrival(count, Instant::now());
        if sender.send((arrival, piece[..count].to_vec())).is_err() {
            return;
        }
    }
}

fn hand_out(mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>) {
    for (arrival, bytes) in receiver {
        std::thread::sleep(arrival.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
    // The other side may have closed it already.
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::free_port;

    #[test]
    fn bytes_of_all_connections_share_the_rate_and_come_after_the_delay() {
        let direction = Direction::new(Line { rate: 1e6, delay: Duration::from_millis(10) });
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(direction.arrival(1000, now), now + Duration::from_millis(11));
        assert_eq!(direction.arrival(1000, now), now + Duration::from_millis(12));
    }

    #[test]
    fn what_goes_in_comes_out_later_and_an_end_is_passed_on() {
        let (listen, server) = (free_port().unwrap(), free_port().unwrap());
        let listener = TcpListener::bind(server).unwrap();
        let line = Line { rate: 1e9, delay: Duration::from_millis(20) };
        relay(listen, server, line).unwrap();
        let begun = Instant::now();
        let mut client = TcpStream::connect(listen).unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        assert!(begun.elapsed() >= line.delay);
    }
}
