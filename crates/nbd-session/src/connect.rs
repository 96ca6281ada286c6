//! Makes connections to servers: to use an export, to list them, to fence a session.

use std::io;
use std::time::{Duration, Instant};

use blockferry_nbd_wire::{
    ClientConfig, ClientError, ClientHandshake, ClientOutcome, ClientStep, ExportEntry,
    FenceRequest, Goal, Joined, Manners, OptionCode, ReplyCode, RoleClaim,
};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::calls::Shared;
use crate::driver::drive;
use crate::exports::FENCED;
use crate::link::Link;
use blockferry_net::Address;
use blockferry_net::Stream;

/// How long connecting may take by default, handshake included.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Room for a receive during the handshake, in bytes.
const HANDSHAKE_BYTES: usize = 4 << 10;

/// What to connect to, and how.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The server.
    pub address: Address,
    /// The export's name; empty for the default export.
    pub export: String,
    /// The role to claim.
    pub role: Option<RoleClaim>,
    /// Whether a server that does not know roles is refused; otherwise [`Link::role_accepted`]
    /// tells.
    pub role_required: bool,
    /// Ask for the block status.
    pub block_status: bool,
    /// How long connecting and the handshake may take together.
    pub timeout: Duration,
    /// A TCP connection is lost when the server's system takes nothing for so long; otherwise that
    /// can last a quarter of an hour.
    pub silence_max: Option<Duration>,
}

/// What came of a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceOutcome {
    /// Nothing older than the fence executes any more, or ever will.
    Confirmed,
    /// The server does not know fences, so nothing is known.
    Unsupported,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network: nobody listens, the name is unknown, the server closed the connection or was
    /// too slow (`TimedOut`).
    #[error("cannot connect to {address}: {source}")]
    Network {
        /// The server.
        address: Address,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The peer is no NBD server, too old, or broke the protocol.
    #[error("cannot use the server at {address}: {source}")]
    Protocol {
        /// The server.
        address: Address,
        /// What it did.
        #[source]
        source: ClientError,
    },
    /// The server refused.
    #[error("the server at {address} refused {option} with {code}: {message}")]
    Refused {
        /// The server.
        address: Address,
        /// The option that it refused.
        option: OptionCode,
        /// Its error.
        code: ReplyCode,
        /// Its text; may be empty.
        message: String,
    },
}

impl ConnectError {
    /// Whether the server refused because the generation of the session that was claimed is fenced:
    /// nothing of it will ever execute there, and trying again is in vain.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.starts_with(FENCED))
    }
}

impl ConnectOptions {
    /// An export without a role, with block status, within 10 seconds.
    pub fn new(address: Address, export: impl Into<String>) -> Self {
        Self {
            address,
            export: export.into(),
            role: None,
            role_required: true,
            block_status: true,
            timeout: TIMEOUT_DEFAULT,
            silence_max: None,
        }
    }
}

/// Connects to an export. A server that closes the connection at an option it does not know is asked
/// again, with none but the oldest.
///
/// # Errors
/// When there is no such export, or no such server.
pub async fn connect(options: &ConnectOptions) -> Result<Link, ConnectError> {
    let address = &options.address;
    let joining = async {
        let goal = Goal::Join {
            export: options.export.clone(),
            block_status: options.block_status,
            role: options.role.clone(),
        };
        let config = ClientConfig { goal, manners: Manners::Full };
        match shake_hands(address, config.clone()).await {
            Err(Failed::ClosedWhileHaggling(_)) if !options.needs_role() => {
                let plain = ClientConfig { manners: Manners::Plain, ..config };
                shake_hands(address, plain).await
            }
            outcome => outcome,
        }
    };
    let Shaken { stream, inbox, outcome, round_trip } =
        within(options.timeout, address, joining).await?;
    let ClientOutcome::Joined(joined) = outcome else {
        return Err(unexpected(address));
    };
    options.check_role(&joined)?;
    if let Some(silence) = options.silence_max {
        let lose = stream.lose_after(silence);
        lose.map_err(|source| ConnectError::Network { address: address.clone(), source })?;
    }
    let shared = Shared::new(joined, round_trip);
    tokio::spawn(drive(stream, inbox, shared.clone()));
    Ok(Link::new(shared))
}

/// Asks a server to let nothing of a session execute any more that is older than a generation.
///
/// # Errors
/// When the server cannot be reached or refuses; then nothing is known of the session.
pub async fn fence(
    address: &Address,
    request: &FenceRequest,
    timeout: Duration,
) -> Result<FenceOutcome, ConnectError> {
    let config = ClientConfig { goal: Goal::Fence(request.clone()), manners: Manners::Full };
    match within(timeout, address, shake_hands(address, config)).await?.outcome {
        ClientOutcome::Fenced => Ok(FenceOutcome::Confirmed),
        ClientOutcome::FenceUnsupported => Ok(FenceOutcome::Unsupported),
        _ => Err(unexpected(address)),
    }
}

/// Lists a server's exports.
///
/// # Errors
/// When the server cannot be reached or does not tell.
pub async fn list(address: &Address) -> Result<Vec<ExportEntry>, ConnectError> {
    let config = ClientConfig { goal: Goal::List, manners: Manners::Full };
    match within(TIMEOUT_DEFAULT, address, shake_hands(address, config)).await?.outcome {
        ClientOutcome::Listed(entries) => Ok(entries),
        _ => Err(unexpected(address)),
    }
}

impl ConnectOptions {
    const fn needs_role(&self) -> bool {
        self.role.is_some() && self.role_required
    }

    fn check_role(&self, joined: &Joined) -> Result<(), ConnectError> {
        if joined.role_accepted || !self.needs_role() {
            return Ok(());
        }
        Err(ConnectError::Refused {
            address: self.address.clone(),
            option: OptionCode(blockferry_nbd_wire::constants::OPT_BLOCKFERRY_ROLE),
            code: ReplyCode(blockferry_nbd_wire::constants::REP_ERR_UNSUP),
            message: "the server does not know roles".to_owned(),
        })
    }
}

/// A handshake that ended well.
struct Shaken {
    stream: Stream,
    inbox: BytesMut,
    outcome: ClientOutcome,
    /// The shortest between a question and its answer.
    round_trip: Duration,
}

enum Failed {
    Network(io::Error),
    /// The server may not have known an option.
    ClosedWhileHaggling(io::Error),
    Client(ClientError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Network(error)
    }
}

async fn within(
    timeout: Duration,
    address: &Address,
    handshake: impl Future<Output = Result<Shaken, Failed>>,
) -> Result<Shaken, ConnectError> {
    let outcome = tokio::time::timeout(timeout, handshake).await.unwrap_or_else(|_| {
        let text = format!("no answer within {} ms", timeout.as_millis());
        Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
    });
    let address = address.clone();
    outcome.map_err(|failed| match failed {
        Failed::Network(source) | Failed::ClosedWhileHaggling(source) => {
            ConnectError::Network { address, source }
        }
        Failed::Client(ClientError::Refused { option, code, message }) => {
            ConnectError::Refused { address, option, code, message }
        }
        Failed::Client(source) => ConnectError::Protocol { address, source },
    })
}

async fn shake_hands(address: &Address, config: ClientConfig) -> Result<Shaken, Failed> {
    let mut stream = Stream::connect(address).await?;
    let mut handshake = ClientHandshake::new(config);
    let mut inbox = BytesMut::new();
    // Not how long the connecting took: a proxy that is near answers that itself.
    let mut shortest: Option<Duration> = None;
    loop {
        let step = handshake.step(&mut inbox);
        let output = handshake.take_output();
        match step {
            Ok(ClientStep::ReadMore) => {
                let asked = Instant::now();
                exchange(&mut stream, &output, &mut inbox).await.map_err(|error| {
                    let closed = is_close(&error) && handshake.is_haggling();
                    if closed { Failed::ClosedWhileHaggling(error) } else { error.into() }
                })?;
                if !output.is_empty() {
                    let took = asked.elapsed();
                    shortest = Some(shortest.map_or(took, |known| known.min(took)));
                }
            }
            Ok(ClientStep::Finished(outcome)) => {
                stream.write_all(&output).await?;
                let round_trip = shortest.unwrap_or_default();
                return Ok(Shaken { stream, inbox, outcome, round_trip });
            }
            Err(error) => {
                // A good-bye is good manners; that it failed would tell nothing more.
                let _ = stream.write_all(&output).await;
                return Err(Failed::Client(error));
            }
        }
    }
}

async fn exchange(stream: &mut Stream, output: &[u8], inbox: &mut BytesMut) -> io::Result<()> {
    stream.write_all(output).await?;
    inbox.reserve(HANDSHAKE_BYTES);
    if stream.read_buf(inbox).await? == 0 {
        let text = "the server closed the connection during the handshake";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    Ok(())
}

fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// Cannot happen: each goal has outcomes of its own.
fn unexpected(address: &Address) -> ConnectError {
    let source = ClientError::Broken("the handshake ended with something else");
    ConnectError::Protocol { address: address.clone(), source }
}
