//! The connection to the server, made again whenever it is lost.

use std::time::Duration;

use blockferry_device::{DeviceInfo, Errno, Failure, Features, Reply, Request};
use blockferry_nbd_session::{CallError, ConnectOptions, Link, NbdUri, connect};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::losses::Losses;
use crate::StoreError;

/// Time between two tries to reach the server.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// One export of one server.
#[derive(Debug)]
pub(super) struct Upstream {
    uri: String,
    options: ConnectOptions,
    /// What the server told first; it has to be the same each time.
    info: DeviceInfo,
    patience: Duration,
    losses: Losses,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    link: Option<Link>,
    /// Grows with every link, so that one loss is noticed once.
    serial: u64,
    /// When the server could not be reached last, and why: who waited for that try need not try
    /// again at once.
    failed: Option<(Instant, String)>,
}

impl Upstream {
    /// Connects for the first time.
    pub(super) async fn connect(uri: &NbdUri, patience: Duration) -> Result<Self, StoreError> {
        let options = ConnectOptions::new(uri.address.clone(), uri.export.clone());
        let uri = uri.to_string();
        let link = connect(&options)
            .await
            .map_err(|source| StoreError::Remote { uri: uri.clone(), source: Box::new(source) })?;
        let info = *link.info();
        let state = Mutex::new(State { link: Some(link), serial: 0, failed: None });
        Ok(Self { uri, options, info, patience, losses: Losses::default(), state })
    }

    /// What the server told of the export.
    pub(super) fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// What the server may have lost.
    pub(super) fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Sends the request until it is answered. A request whose answer was lost is sent again, so
    /// its caller keeps others off its range until this returns.
    pub(super) async fn ask(&self, request: Request) -> Result<Reply, Failure> {
        let mut away_since: Option<Instant> = None;
        loop {
            let why = match self.link().await {
                Ok((serial, link)) => match self.once(serial, &link, &request).await {
                    Ok(reply) => return Ok(reply),
                    Err(CallError::Refused(failure)) if failure.errno != Errno::Shutdown => {
                        if request == Request::Flush {
                            self.losses.flush_failed();
                        }
                        return Err(failure);
                    }
                    // A server that shuts down may come back; its client need not know.
                    Err(error) => self.lost(serial, &link, error).await,
                },
                Err(why) => why,
            };
            match away_since {
                // A connection that died of idleness is made again at once.
                None => away_since = Some(Instant::now()),
                Some(since) if since.elapsed() >= self.patience => {
                    let text = format!("the volume's server does not come back: {why}");
                    return Err(Failure::new(Errno::Io, text));
                }
                Some(_) => sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// Sends the request over one link, and keeps account of what may be lost with it.
    async fn once(&self, serial: u64, link: &Link, request: &Request) -> Result<Reply, CallError> {
        let flush = (*request == Request::Flush).then(|| self.losses.flush(serial));
        let reply = link.request(request.clone()).await?;
        if request.is_write() && !request.fua() {
            self.losses.answered(serial);
        }
        if let Some(flush) = flush {
            self.losses.flushed(flush).map_err(CallError::Refused)?;
        }
        Ok(reply)
    }

    /// The present link, or a new one.
    async fn link(&self) -> Result<(u64, Link), String> {
        let mut state = self.state.lock().await;
        if let Some(link) = &state.link {
            return Ok((state.serial, link.clone()));
        }
        if let Some((at, why)) = &state.failed
            && at.elapsed() < RETRY_PAUSE
        {
            return Err(why.clone());
        }
        match self.connect_again().await {
            Ok(link) => {
                info!(uri = self.uri, "the volume's server is back");
                state.serial += 1;
                state.failed = None;
                state.link = Some(link.clone());
                Ok((state.serial, link))
            }
            Err(why) => {
                state.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    async fn connect_again(&self) -> Result<Link, String> {
        let link = connect(&self.options).await.map_err(|error| error.to_string())?;
        match difference(&self.info, link.info()) {
            None => Ok(link),
            Some(difference) => {
                warn!(uri = self.uri, difference, "the server came back with another volume");
                Err(format!("{} is not the volume that it was: {difference}", self.uri))
            }
        }
    }

    /// Gives up a link, once; says why.
    async fn lost(&self, serial: u64, link: &Link, error: CallError) -> String {
        link.abort();
        let mut state = self.state.lock().await;
        if state.serial == serial && state.link.take().is_some() {
            self.losses.link_lost(serial);
            warn!(uri = self.uri, %error, "the link to the volume's server was lost");
        }
        error.to_string()
    }
}

/// What the export lacks now that it had before.
fn difference(before: &DeviceInfo, now: &DeviceInfo) -> Option<String> {
    if before.size != now.size {
        return Some(format!("it had {} bytes and has {}", before.size, now.size));
    }
    if !before.block_size_min.is_multiple_of(now.block_size_min) {
        let (before, now) = (before.block_size_min, now.block_size_min);
        return Some(format!("its smallest block had {before} bytes and has {now}"));
    }
    // There is one connection to it at a time.
    let before = Features { multi_conn: false, ..before.features };
    let lacks: Vec<_> = before.missing_in(now.features).collect();
    (!lacks.is_empty()).then(|| format!("it no longer offers {}", lacks.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_offers_more_than_before_is_the_same_and_one_that_offers_less_is_not() {
        let before = DeviceInfo::new(4096, Features { flush: true, ..Features::default() });
        let mut now = before;
        now.features.trim = true;
        assert_eq!(difference(&before, &now), None);
        now.features.flush = false;
        assert_eq!(difference(&before, &now), Some("it no longer offers flush".to_owned()));
        now = before;
        now.features.read_only = true;
        assert_eq!(difference(&before, &now), Some("it no longer offers writing".to_owned()));
        now = before;
        now.size = 8192;
        assert!(difference(&before, &now).is_some_and(|text| text.contains("8192")));
        now = before;
        now.block_size_min = 512;
        assert!(difference(&before, &now).is_some());
        assert_eq!(difference(&now, &before), None);
    }
}
