//! What one server and one connection may use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

/// Bounds on what clients can make a server hold. One value is shared by all connections of a
/// server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at one time.
    pub connections_max: usize,
    /// Connections from one IP address at one time.
    pub connections_per_ip_max: usize,
    /// Requests of one connection under way at one time; then reading stops. A version of a program
    /// that keeps its clients must have no less than the one before: it begins so many again.
    pub in_flight_max: usize,
    /// Bytes of one connection held at one time, in payloads that came and answers that go; then
    /// reading stops. At least one payload of the largest kind fits.
    pub buffered_bytes_max: u64,
    /// Bytes of all connections together; beyond it a connection is read only while it holds none.
    pub buffered_bytes_total_max: u64,
    /// What all connections hold now.
    pub buffered_total: BufferedTotal,
    /// A handshake has to end within this time, not counting what this side does itself.
    pub handshake_timeout: Duration,
    /// A request that has begun has to come whole within this time. Idling is allowed.
    pub frame_timeout: Duration,
    /// A client that takes none of its answers for this time goes if another's requests wait for
    /// that, as they do where a keeper has the clients.
    pub stuck_timeout: Duration,
    /// Whom the server serves now.
    pub attention: Attention,
}

/// A count of bytes that connections share.
#[derive(Clone, Debug, Default)]
pub struct BufferedTotal(Arc<AtomicU64>);

/// Which of a server's connections was served last.
#[derive(Clone, Debug)]
pub struct Attention {
    last: Arc<AtomicU64>,
    next: Arc<AtomicU64>,
    /// Whether there is a processor for others while one connection is waited for.
    pub has_room_for_others: bool,
}

/// One connection's part of a [`BufferedTotal`]; given back when dropped.
#[derive(Debug)]
pub struct BufferedPart {
    total: BufferedTotal,
    held: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_ip_max: 1024,
            in_flight_max: 128,
            buffered_bytes_max: 64 << 20,
            buffered_bytes_total_max: 1 << 30,
            buffered_total: BufferedTotal::default(),
            handshake_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(30),
            stuck_timeout: Duration::from_secs(5),
            attention: Attention::default(),
        }
    }
}

impl Default for Attention {
    fn default() -> Self {
        let has_room_for_others = available_parallelism().is_ok_and(|count| count.get() > 1);
        Self { last: Arc::default(), next: Arc::default(), has_room_for_others }
    }
}

impl Attention {
    /// A number for a connection.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A connection is served; tells whether it was the last one, too.
    pub fn stays_with(&self, connection: u64) -> bool {
        self.last.swap(connection, Ordering::Relaxed) == connection
    }
}

impl BufferedTotal {
    /// The bytes held by all connections.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The part of a new connection.
    pub fn part(&self) -> BufferedPart {
        BufferedPart { total: self.clone(), held: 0 }
    }
}

impl BufferedPart {
    /// Says what this connection holds now.
    pub fn set(&mut self, held: u64) {
        if held > self.held {
            self.total.0.fetch_add(held - self.held, Ordering::Relaxed);
        } else if held < self.held {
            self.total.0.fetch_sub(self.held - held, Ordering::Relaxed);
        }
        self.held = held;
    }
}

impl Drop for BufferedPart {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_held_is_given_back_when_it_ends() {
        let total = BufferedTotal::default();
        let mut first = total.part();
        let mut second = total.part();
        first.set(10);
        second.set(5);
        first.set(3);
        assert_eq!(total.bytes(), 8);
        drop(second);
        assert_eq!(total.bytes(), 3);
        drop(first);
        assert_eq!(total.bytes(), 0);
    }
}
