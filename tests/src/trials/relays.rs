//! The connections between the programs lead through here, so that one program can be cut off. Each
//! program's socket is moved aside and a relay put in its place; who calls is told by the kernel.
//!
//! What it cannot show is what TCP itself does: retransmissions, keepalives, refused connections.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::trial::{Fault, Party};

/// A piece that is relayed at once, in bytes: small, so that a cut meets requests half sent.
const PIECE: usize = 16 << 10;

/// Most bytes that still pass on a connection which is torn: about a header and a half.
const TORN_MAX: u64 = 48;

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// All relays of a trial.
pub struct Relays {
    net: Arc<Net>,
    tasks: JoinSet<()>,
}

struct Net {
    /// Whose process it is.
    parties: Mutex<HashMap<i32, Party>>,
    cut: watch::Sender<Option<Cut>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Cut {
    party: Party,
    fault: Fault,
    /// Bytes that still pass where it is torn.
    rest: u64,
}

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Party(Party),
    /// A client of the volume, which may be cut off from a party.
    Client,
    /// The test itself, which is never cut off.
    Test,
}

/// One direction of a connection.
#[derive(Clone, Copy)]
struct Way {
    from: End,
    to: End,
}

/// What a relay leads to.
#[derive(Clone)]
enum Called {
    Socket(PathBuf),
    Portal(String),
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

impl Called {
    async fn open(&self) -> io::Result<(Reader, Writer)> {
        Ok(match self {
            Self::Socket(path) => {
                let (reader, writer) = UnixStream::connect(path).await?.into_split();
                (Box::new(reader), Box::new(writer))
            }
            Self::Portal(address) => {
                let (reader, writer) = TcpStream::connect(address).await?.into_split();
                (Box::new(reader), Box::new(writer))
            }
        })
    }
}

impl Relays {
    /// No relay yet.
    pub fn new() -> Self {
        let net = Net { parties: Mutex::default(), cut: watch::Sender::new(None) };
        Self { net: Arc::new(net), tasks: JoinSet::new() }
    }

    /// Puts a relay in the place of a program's socket, which is bound already.
    ///
    /// # Errors
    /// When the socket cannot be moved aside.
    pub fn stand_before(&mut self, party: Party, socket: &Path) -> Result<()> {
        let mut aside = socket.as_os_str().to_owned();
        aside.push(".own");
        let aside = PathBuf::from(aside);
        std::fs::rename(socket, &aside)
            .with_context(|| format!("{} cannot be moved aside", socket.display()))?;
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("no relay at {}", socket.display()))?;
        self.tasks.spawn(listen(Arc::clone(&self.net), party, listener, Called::Socket(aside)));
        Ok(())
    }

    /// Puts a socket where clients call instead of a program's portal.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn lead_to(&mut self, party: Party, portal: &str, socket: &Path) -> Result<()> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("no relay at {}", socket.display()))?;
        let called = Called::Portal(portal.to_owned());
        self.tasks.spawn(listen(Arc::clone(&self.net), party, listener, called));
        Ok(())
    }

    /// This process is that party's.
    pub fn introduce(&self, party: Party, pid: u32) {
        let mut parties = self.net.parties.lock().unwrap_or_else(PoisonError::into_inner);
        parties.extend(i32::try_from(pid).map(|pid| (pid, party)));
    }

    /// Cuts a party off, until [`Relays::heal`].
    pub fn cut(&self, party: Party, fault: Fault, seed: u64) {
        self.net.cut.send_replace(Some(Cut { party, fault, rest: 1 + seed % TORN_MAX }));
    }

    /// The network is whole again. What was held back arrives now, as after retransmissions.
    pub fn heal(&self) {
        self.net.cut.send_replace(None);
    }
}

impl Default for Relays {
    fn default() -> Self {
        Self::new()
    }
}

impl Net {
    /// Who calls there.
    fn caller(&self, pid: Option<i32>, called: &Called) -> End {
        if matches!(called, Called::Portal(_)) {
            return End::Client;
        }
        let parties = self.parties.lock().unwrap_or_else(PoisonError::into_inner);
        let party = pid.and_then(|pid| parties.get(&pid));
        party.map_or(End::Test, |party| End::Party(*party))
    }
}

impl Cut {
    /// Whether the connection is one of the party's with another.
    fn concerns(self, way: Way) -> bool {
        let ends = [way.from, way.to];
        ends.contains(&End::Party(self.party)) && !ends.contains(&End::Test)
    }

    fn holds(self, way: Way) -> bool {
        self.concerns(way)
            && match self.fault {
                Fault::Silence => true,
                Fault::Mute => way.from == End::Party(self.party),
                Fault::Deaf => way.to == End::Party(self.party),
                _ => false,
            }
    }
}

async fn listen(net: Arc<Net>, party: Party, listener: UnixListener, called: Called) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((caller, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (net, called) = (Arc::clone(&net), called.clone());
        connections.spawn(async move {
            // A connection that breaks is told to both ends by its end.
            let _ = relay(&net, party, caller, &called).await;
        });
    }
}

async fn relay(net: &Net, party: Party, caller: UnixStream, called: &Called) -> io::Result<()> {
    let pid = caller.peer_cred()?.pid();
    let cut = *net.cut.borrow();
    // Who calls may be introduced later, so it is looked up when it matters.
    let there = || Way { from: net.caller(pid, called), to: End::Party(party) };
    let back = || Way { from: End::Party(party), to: net.caller(pid, called) };
    if cut.is_some_and(|cut| is_hard(cut) && cut.concerns(there())) {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let (caller_read, caller_write) = caller.into_split();
    let (called_read, called_write) = called.open().await?;
    tokio::try_join!(
        pump(net, there, Box::new(caller_read), called_write),
        pump(net, back, called_read, Box::new(caller_write)),
    )
    .map(|_| ())
}

fn is_hard(cut: Cut) -> bool {
    matches!(cut.fault, Fault::Reset | Fault::Torn)
}

/// Carries one direction until its end, or until the connection is cut: an error.
async fn pump(
    net: &Net,
    way: impl Fn() -> Way,
    mut from: Reader,
    mut to: Writer,
) -> io::Result<()> {
    let mut cuts = net.cut.subscribe();
    let mut piece = vec![0; PIECE];
    loop {
        let length = tokio::select! {
            length = from.read(&mut piece) => length?,
            reset = reset(&mut cuts, &way) => return Err(reset),
        };
        // The sender outlives every pump.
        let hold = |cut: &Option<Cut>| !cut.is_some_and(|cut| cut.holds(way()));
        let _ = cuts.wait_for(hold).await;
        let torn = cuts.borrow().filter(|cut| cut.fault == Fault::Torn && cut.concerns(way()));
        if let Some(cut) = torn {
            let rest = length.min(usize::try_from(cut.rest).unwrap_or(0));
            to.write_all(&piece[..rest]).await?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
    }
}

async fn reset(cuts: &mut watch::Receiver<Option<Cut>>, way: impl Fn() -> Way) -> io::Error {
    let is_reset =
        |cut: &Option<Cut>| cut.is_some_and(|cut| cut.fault == Fault::Reset && cut.concerns(way()));
    let _ = cuts.wait_for(is_reset).await;
    io::ErrorKind::ConnectionReset.into()
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);

    /// A destination that answers every byte with itself, and a connection of the source to it.
    async fn echoing(relays: &mut Relays, folder: &Path) -> UnixStream {
        let socket = folder.join("nbd");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        relays.stand_before(Party::Destination, &socket).unwrap();
        relays.introduce(Party::Source, std::process::id());
        UnixStream::connect(socket).await.unwrap()
    }

    async fn says(
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        text: &[u8],
    ) -> io::Result<bool> {
        stream.write_all(text).await?;
        hears(stream, text).await
    }

    /// Whether this arrives soon.
    async fn hears(stream: &mut (impl AsyncRead + Unpin), text: &[u8]) -> io::Result<bool> {
        let mut heard = vec![0; text.len()];
        match timeout(SOON, stream.read_exact(&mut heard)).await {
            Ok(read) => read.map(|_| heard == text),
            Err(_) => Ok(false),
        }
    }

    #[tokio::test]
    async fn what_is_held_back_arrives_when_the_network_is_whole_again() {
        for (party, fault) in [
            (Party::Source, Fault::Silence),
            (Party::Source, Fault::Mute),
            (Party::Source, Fault::Deaf),
            (Party::Destination, Fault::Silence),
        ] {
            let (folder, mut relays) = (tempfile::tempdir().unwrap(), Relays::new());
            let mut stream = echoing(&mut relays, folder.path()).await;
            assert!(says(&mut stream, b"before").await.unwrap());
            relays.cut(party, fault, 0);
            assert!(!says(&mut stream, b"held").await.unwrap(), "{fault} of the {party}");
            relays.heal();
            assert!(hears(&mut stream, b"held").await.unwrap(), "{fault} of the {party}");
            relays.cut(Party::Switch, fault, 0);
            assert!(says(&mut stream, b"after").await.unwrap(), "another was cut off");
        }
    }

    #[tokio::test]
    async fn connections_are_cut_at_once_or_after_some_bytes_and_new_ones_refused() {
        for (fault, rest) in [(Fault::Reset, 0), (Fault::Torn, 3)] {
            let (folder, mut relays) = (tempfile::tempdir().unwrap(), Relays::new());
            let mut stream = echoing(&mut relays, folder.path()).await;
            assert!(says(&mut stream, b"before").await.unwrap());
            relays.cut(Party::Source, fault, 2);
            let _ = stream.write_all(b"cut off").await;
            let mut heard = Vec::new();
            let _ = timeout(SOON, stream.read_to_end(&mut heard)).await.expect("an end");
            assert!(heard.len() <= rest, "{fault}: {heard:?}");
            let mut refused = UnixStream::connect(folder.path().join("nbd")).await.unwrap();
            assert!(!says(&mut refused, b"new").await.is_ok_and(|heard| heard), "{fault}");
            relays.heal();
            let mut fresh = UnixStream::connect(folder.path().join("nbd")).await.unwrap();
            assert!(says(&mut fresh, b"whole").await.unwrap());
        }
    }
}
