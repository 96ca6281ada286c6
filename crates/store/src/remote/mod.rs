//! A volume on an NBD server that need not know anything of this project.
//!
//! The connection is made again when it is lost, and what was unanswered is sent again. That is
//! safe because overlapping writes wait for each other: nothing else touches a range between the
//! two times that a write to it may be executed.
//!
//! A server that comes back may have lost what it had answered and not flushed. Nobody tells, so
//! after such a reconnection every flush fails until the store's user has dealt with it.
//!
//! What it cannot do: a foreign server does not tell whether a request of the lost connection is
//! still executing there; every NBD client that reconnects lives with that.

mod blocks;
mod losses;
mod ranges;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_device::{
    Answer, Device, DeviceInfo, Errno, Failure, Features, ReadPart, Reply, Request, Segment,
    SegmentState,
};
use blockferry_nbd_session::NbdUri;
use bytes::{Bytes, BytesMut};

use self::blocks::Blocks;
use self::ranges::Ranges;
use self::upstream::Upstream;
use crate::{Store, StoreError};

/// How long a request waits for a server that is away before it fails: less than the block layer's
/// own 30 s, after which some clients send it again by themselves.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(25);

/// A volume on an NBD server. Its requests are to be made inside a tokio runtime.
#[derive(Debug)]
pub struct RemoteStore {
    info: DeviceInfo,
    remote: Arc<Remote>,
}

#[derive(Debug)]
struct Remote {
    upstream: Upstream,
    blocks: Blocks,
    writes: Ranges,
    tells_holes: bool,
}

impl RemoteStore {
    /// Connects to the export. A request that finds the server away later waits for it.
    ///
    /// # Errors
    /// When the server cannot be reached, has no such export, or one that cannot hold a volume.
    pub async fn connect(uri: &NbdUri) -> Result<Self, StoreError> {
        Self::connect_with(uri, PATIENCE_DEFAULT).await
    }

    /// The same with another time that requests wait for a server that is away.
    ///
    /// # Errors
    /// As [`RemoteStore::connect`].
    pub async fn connect_with(uri: &NbdUri, patience: Duration) -> Result<Self, StoreError> {
        let upstream = Upstream::connect(uri, patience).await?;
        let server = *upstream.info();
        let block = u64::from(server.block_size_min);
        if !server.size.is_multiple_of(block) {
            let reason = format!(
                "its {} bytes are no multiple of its smallest block of {block}, so its end cannot \
                 be reached",
                server.size
            );
            return Err(StoreError::Unusable { uri: uri.to_string(), reason });
        }
        let mut info = DeviceInfo::new(server.size, offered(server.features));
        info.block_size_preferred = server.block_size_preferred.max(info.block_size_preferred);
        let remote = Arc::new(Remote {
            upstream,
            blocks: Blocks::new(block),
            writes: Ranges::default(),
            tells_holes: server.features.block_status,
        });
        if server.features.flush && !server.features.read_only {
            tokio::spawn(flush_earlier(Arc::clone(&remote)));
        }
        Ok(Self { info, remote })
    }
}

/// Makes durable what an earlier run of this program wrote: were it lost later, nobody would know.
async fn flush_earlier(remote: Arc<Remote>) {
    if let Err(failure) = remote.upstream.ask(Request::Flush).await {
        tracing::warn!(%failure, "what an earlier run wrote cannot be made durable");
    }
}

/// What the volume offers on a server with these features. A foreign server's trim leaves open what
/// is read afterwards, so it is done by writing zeroes that need not stay allocated.
fn offered(server: Features) -> Features {
    Features {
        trim: server.trim && server.write_zeroes,
        block_status: true,
        multi_conn: true,
        ..server
    }
}

impl Device for RemoteStore {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        if let Err(failure) = self.info.check(&request) {
            return Answer::ready(Err(failure));
        }
        let remote = Arc::clone(&self.remote);
        // On its own task, since dropping the answer must not cancel the request.
        let executed = tokio::spawn(async move { remote.execute(request).await });
        Answer::later(async move {
            executed.await.unwrap_or_else(|error| Err(Failure::new(Errno::Io, error.to_string())))
        })
    }
}

impl Store for RemoteStore {
    fn forget_losses(&self) {
        self.remote.upstream.losses().forget();
    }
}

impl Remote {
    async fn execute(&self, request: Request) -> Result<Reply, Failure> {
        match request.extent() {
            Some(extent) if extent.is_empty() => return nothing(&request),
            Some(extent) if request.is_write() => {
                let _alone = self.writes.hold(self.blocks.around(extent)).await;
                return self.change(request).await;
            }
            _ => {}
        }
        match request {
            Request::Read { extent, dont_fragment } => {
                self.read(extent, dont_fragment).await.map(Reply::Read)
            }
            Request::BlockStatus { extent, one } => self.block_status(extent, one).await,
            Request::Cache { extent } => {
                let extent = self.blocks.around(extent);
                self.upstream.ask(Request::Cache { extent }).await
            }
            other => self.upstream.ask(other).await,
        }
    }

    async fn read(&self, extent: Extent, dont_fragment: bool) -> Result<Vec<ReadPart>, Failure> {
        let whole = self.blocks.around(extent);
        match self.upstream.ask(Request::Read { extent: whole, dont_fragment }).await? {
            Reply::Read(parts) => {
                Ok(blocks::cut_parts(parts, extent.start() - whole.start(), extent.len()))
            }
            _ => Err(unexpected()),
        }
    }

    async fn block_status(&self, extent: Extent, one: bool) -> Result<Reply, Failure> {
        let unknown = Segment { length: extent.len(), state: SegmentState::DATA };
        if !self.tells_holes {
            return Ok(Reply::BlockStatus(vec![unknown]));
        }
        let whole = self.blocks.around(extent);
        match self.upstream.ask(Request::BlockStatus { extent: whole, one }).await? {
            Reply::BlockStatus(told) => {
                let skip = extent.start() - whole.start();
                let segments = blocks::cut_segments(told, skip, extent.len());
                Ok(Reply::BlockStatus(if segments.is_empty() { vec![unknown] } else { segments }))
            }
            _ => Err(unexpected()),
        }
    }

    /// Executes a write while no other touches its blocks.
    async fn change(&self, request: Request) -> Result<Reply, Failure> {
        match request {
            Request::Write { offset, data, fua } => self.write(offset, data, fua).await,
            Request::WriteZeroes { extent, fua, no_hole, fast_zero } => {
                let zeroes = |extent| Request::WriteZeroes { extent, fua, no_hole, fast_zero };
                self.zero(extent, fua, zeroes).await
            }
            Request::Trim { extent, fua } => {
                let zeroes =
                    |extent| Request::WriteZeroes { extent, fua, no_hole: false, fast_zero: false };
                self.zero(extent, fua, zeroes).await
            }
            other => self.upstream.ask(other).await,
        }
    }

    /// Writes whole blocks; what lies around the data in them is read first.
    async fn write(&self, offset: u64, data: Bytes, fua: bool) -> Result<Reply, Failure> {
        let extent = Extent::between(offset, offset + data.len() as u64);
        let whole = self.blocks.around(extent);
        if whole == extent {
            return self.upstream.ask(Request::Write { offset, data, fua }).await;
        }
        let mut content = BytesMut::new();
        self.append(&mut content, Extent::between(whole.start(), extent.start())).await?;
        content.extend_from_slice(&data);
        self.append(&mut content, Extent::between(extent.end(), whole.end())).await?;
        let data = content.freeze();
        self.upstream.ask(Request::Write { offset: whole.start(), data, fua }).await
    }

    async fn append(&self, content: &mut BytesMut, extent: Extent) -> Result<(), Failure> {
        if extent.is_empty() {
            return Ok(());
        }
        for part in self.read(extent, true).await? {
            match part {
                ReadPart::Data(data) => content.extend_from_slice(&data),
                ReadPart::Hole(length) => {
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    content.resize(content.len().saturating_add(length), 0);
                }
            }
        }
        Ok(())
    }

    /// Lets the server zero the whole blocks of the extent, and writes zeroes at its edges. The
    /// blocks come first: where the server refuses them, nothing has changed.
    async fn zero(
        &self,
        extent: Extent,
        fua: bool,
        zeroes: impl Fn(Extent) -> Request,
    ) -> Result<Reply, Failure> {
        let (head, middle, tail) = self.blocks.within(extent);
        if !middle.is_empty() {
            self.upstream.ask(zeroes(middle)).await?;
        }
        for edge in [head, tail].into_iter().filter(|edge| !edge.is_empty()) {
            let length = usize::try_from(edge.len()).unwrap_or(0);
            self.write(edge.start(), Bytes::from(vec![0; length]), fua).await?;
        }
        Ok(Reply::Done)
    }
}

/// The answer to a request for no bytes.
fn nothing(request: &Request) -> Result<Reply, Failure> {
    match request {
        Request::Read { .. } => Ok(Reply::Read(Vec::new())),
        Request::BlockStatus { .. } => {
            Err(Failure::new(Errno::Inval, "a block status needs a length"))
        }
        _ => Ok(Reply::Done),
    }
}

fn unexpected() -> Failure {
    Failure::new(Errno::Io, "the server answered another question")
}
