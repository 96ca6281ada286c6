//! Where a keeper's clients come in. It takes over the listener and the clients of another keeper, and
//! never drops those clients for that listener's sake: without one they are served, the door is shut
//! to others meanwhile, and is tried again and again.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use blockferry_keeper::{Admitted, ClientId, Door, Estate};
use blockferry_net::{Address, BindError, Census, Limits, Listener, Peer, Stream};
use tokio::sync::Mutex;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::succession::{self, Inheritance};

/// Pause between two tries to open a door that is shut: an operator who has mended it sees it soon,
/// and the log of whoever has the address meanwhile is not flooded.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct FrontDoor {
    /// Where it is wanted.
    address: Address,
    listener: OnceLock<Listener>,
    /// Why there is no listener.
    trouble: String,
    tries: Mutex<Interval>,
    census: Census,
    limits: Limits,
}

type Clients = HashMap<ClientId, Admitted<Stream>>;

impl FrontDoor {
    /// The door that was left, or a new one where that cannot be had or another address is wanted
    /// now; with the clients.
    ///
    /// # Errors
    /// When there are no clients yet, and the address cannot be had.
    pub(crate) async fn open(
        wanted: &Address,
        left: Option<Inheritance>,
    ) -> Result<(Self, Option<(Estate, Clients)>), BindError> {
        let Some(Inheritance { estate, listener, sockets }) = left else {
            return Ok((Self::with(Listener::bind(wanted).await?), None));
        };
        let was = estate.listen.parse().ok().filter(|was| is_at(wanted, was));
        let adopted = match (listener, &was) {
            (Some(listener), Some(was)) => adopt(listener, was),
            _ => None,
        };
        let address = was.as_ref().unwrap_or(wanted);
        let door = match adopted {
            Some(listener) => Self::with(listener),
            None => match Listener::bind(address).await {
                Ok(listener) => Self::with(listener),
                Err(error) => Self::that_is_shut(address, &error),
            },
        };
        let clients = sockets.into_iter().filter_map(|(client, socket)| {
            let socket = Stream::adopt(socket).ok()?;
            Some((client, door.admitted(socket)?))
        });
        let clients = clients.collect();
        Ok((door, Some((estate, clients))))
    }

    fn with(listener: Listener) -> Self {
        let door = Self::new(listener.address().clone(), String::new());
        door.put(listener);
        door
    }

    fn that_is_shut(address: &Address, error: &BindError) -> Self {
        let every = RETRY_EVERY.as_secs();
        let trouble =
            format!("no new client can connect: {error}; it is tried again every {every} s");
        Self::new(address.clone(), trouble)
    }

    fn new(address: Address, trouble: String) -> Self {
        let mut tries = interval_at(Instant::now() + RETRY_EVERY, RETRY_EVERY);
        tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            address,
            listener: OnceLock::new(),
            trouble,
            tries: Mutex::new(tries),
            census: Census::default(),
            limits: Limits::default(),
        }
    }

    /// There is at most one: whoever puts it has seen that there is none, under a lock.
    fn put(&self, listener: Listener) -> &Listener {
        let listener = listener.counting_in(self.census.clone());
        self.listener.get_or_init(|| listener)
    }

    /// Says that clients are served, and which are not.
    pub(crate) fn announce(&self) {
        match self.listener.get() {
            Some(listener) => listener.announce("NBD"),
            None => tracing::error!("the clients of another keeper are served; {}", self.trouble),
        }
        succession::ready(&self.shut().unwrap_or_default());
    }

    /// The listener for another keeper, if there is one.
    pub(crate) fn into_descriptor(self) -> Option<OwnedFd> {
        let descriptor = self.listener.into_inner()?.into_descriptor();
        descriptor
            .inspect_err(|error| tracing::error!(%error, "the listener cannot be left to another"))
            .ok()
    }

    /// As a client that came in at this door, if there is room for it.
    fn admitted(&self, socket: Stream) -> Option<Admitted<Stream>> {
        let place = self.census.enter(socket.peer(), &self.limits)?;
        let peer = address(socket.peer());
        Some(Admitted { socket, peer, place: Box::new(place) })
    }
}

impl Door for FrontDoor {
    type Socket = Stream;

    fn address(&self) -> String {
        self.listener.get().map_or(&self.address, Listener::address).to_string()
    }

    fn shut(&self) -> Option<String> {
        self.listener.get().is_none().then(|| self.trouble.clone())
    }

    async fn opened(&self) {
        let mut tries = self.tries.lock().await;
        while self.listener.get().is_none() {
            tries.tick().await;
            match Listener::bind(&self.address).await {
                Ok(listener) => {
                    self.put(listener).announce("NBD");
                    succession::ready("");
                }
                Err(error) => tracing::debug!("the door stays shut: {error}"),
            }
        }
    }

    async fn admit(&self) -> Admitted<Stream> {
        let Some(listener) = self.listener.get() else { return std::future::pending().await };
        loop {
            let (socket, place) = listener.admit(&self.limits).await;
            match socket.tune() {
                Ok(()) => {
                    let peer = address(socket.peer());
                    return Admitted { socket, peer, place: Box::new(place) };
                }
                Err(error) => tracing::debug!(%error, "a client has left at once"),
            }
        }
    }
}

/// The listener of another keeper, if it can still be reached where it was.
fn adopt(descriptor: OwnedFd, was: &Address) -> Option<Listener> {
    Listener::adopt(descriptor, was.clone())
        .inspect_err(|error: &io::Error| {
            tracing::warn!(address = %was, %error,
                "the listener of another keeper is of no use; the address is bound anew");
        })
        .ok()
}

/// Whether a listener is where it is wanted; port 0 is any.
fn is_at(wanted: &Address, was: &Address) -> bool {
    match (wanted, was) {
        (Address::Tcp(host, 0), Address::Tcp(was, _)) => host == was,
        (wanted, was) => wanted == was,
    }
}

fn address(peer: Peer) -> Option<SocketAddr> {
    match peer {
        Peer::Tcp(address) => Some(address),
        Peer::Unix => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use tokio::io::AsyncReadExt;

    use super::*;

    /// Nothing takes longer.
    const SOON: Duration = Duration::from_secs(20);

    /// A client of another keeper, which has listened at `port`, and what is left of its listener.
    fn inheritance(port: u16, listener: Option<OwnedFd>) -> (TcpStream, Inheritance) {
        let meeting = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = TcpStream::connect(meeting.local_addr().expect("bound")).expect("a client");
        let (kept, _) = meeting.accept().expect("the client");
        kept.set_nonblocking(true).expect("a socket");
        let mut estate = Estate::default();
        estate.listen = format!("127.0.0.1:{port}");
        let sockets = HashMap::from([(1, kept.into())]);
        (client, Inheritance { estate, listener, sockets })
    }

    fn free_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").port()
    }

    async fn open(port: u16, left: Inheritance) -> (FrontDoor, Clients) {
        let wanted = format!("127.0.0.1:{port}").parse().expect("an address");
        let (door, inherited) = FrontDoor::open(&wanted, Some(left)).await.expect("a door");
        (door, inherited.expect("what was left").1)
    }

    async fn lets_in(door: &FrontDoor, port: u16) {
        let client = tokio::net::TcpStream::connect(("127.0.0.1", port));
        let came = async { tokio::join!(door.admit(), client).1.expect("a listener") };
        tokio::time::timeout(SOON, came).await.expect("an open door");
    }

    #[tokio::test]
    async fn a_listener_that_is_of_no_use_is_bound_anew_and_costs_no_client() {
        let port = free_port();
        let (no_listener, _other_end) = std::os::unix::net::UnixStream::pair().expect("sockets");
        for listener in [Some(no_listener.into()), None] {
            let (_client, left) = inheritance(port, listener);
            let (door, clients) = open(port, left).await;
            assert_eq!((clients.len(), door.shut()), (1, None));
            lets_in(&door, port).await;
        }
    }

    #[tokio::test]
    async fn without_an_address_the_clients_are_kept_and_the_door_opens_once_it_is_free() {
        let stranger = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = stranger.local_addr().expect("bound").port();
        let (_client, left) = inheritance(port, None);
        let (door, clients) = open(port, left).await;
        assert_eq!(clients.len(), 1, "dropped for a listener's sake");
        let why = door.shut().expect("a reason");
        assert!(why.contains(&port.to_string()) && why.contains("tried again"), "{why}");
        assert!(!why.contains('\n'), "{why}");
        drop(stranger);
        tokio::time::timeout(SOON, door.opened()).await.expect("the address is free");
        assert_eq!(door.shut(), None);
        lets_in(&door, port).await;
    }

    #[tokio::test]
    async fn clients_that_were_kept_count_among_those_who_come_later() {
        let port = free_port();
        let (_client, left) = inheritance(port, None);
        let (mut door, _clients) = open(port, left).await;
        door.limits.connections_max = 1;
        let late = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        let mut late = late.expect("a listener");
        let turned_away = async {
            tokio::select! {
                _ = door.admit() => panic!("there is no place left"),
                told = late.read_u8() => told.expect_err("nothing is said"),
            }
        };
        tokio::time::timeout(SOON, turned_away).await.expect("an end");
    }
}
