//! Clients of a volume: a checked load over several connections, and single requests.

use std::sync::Arc;
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_checker::{Load, LoadConfig, LoadHandle, Report};
use blockferry_device::{Device, Failure, ReadPart, Reply, Request};
use blockferry_nbd_session::{ConnectOptions, Link, NbdUri};
use bytes::{Bytes, BytesMut};

use super::until::until;

/// A request that takes longer has not just been delayed. Far above what is measured, because the
/// machine may be busy, and below the 30 s after which a kernel's client begins to act.
const DELAY_MAX: Duration = Duration::from_secs(20);

/// Connects a client.
///
/// # Panics
/// When it is turned away.
pub async fn connect(uri: &NbdUri) -> Link {
    let options = ConnectOptions::new(uri.address.clone(), uri.export.clone());
    let link = blockferry_nbd_session::connect(&options).await;
    link.unwrap_or_else(|error| panic!("no connection to {uri}: {error}"))
}

/// Starts a checked load over so many connections.
///
/// # Panics
/// When a connection is turned away, or the load does not fit the volume.
pub async fn load(uri: &NbdUri, connections: usize, config: LoadConfig) -> LoadHandle {
    let mut devices: Vec<Arc<dyn Device>> = Vec::new();
    for _ in 0..connections {
        devices.push(Arc::new(connect(uri).await));
    }
    Load::start(devices, config).expect("a load that fits the volume")
}

/// A load of so many requests a second over two connections, that has begun: enough to meet every
/// chunk of a small volume, and not the whole machine.
pub async fn busy(uri: &NbdUri, rate: u32) -> LoadHandle {
    let handle = load(uri, 2, LoadConfig { rate: Some(rate), ..LoadConfig::default() }).await;
    moves_on(&handle).await;
    handle
}

/// Waits until the load has had some more answers.
pub async fn moves_on(load: &LoadHandle) {
    let before = load.snapshot().operations.total();
    let answers = || load.snapshot().operations.total() - before;
    until("the load gets answers", async || (answers() >= 40).then_some(())).await;
}

/// Ends a load that gets answers: it has nothing to complain of, and saw no more than a delay.
///
/// # Panics
/// When it has.
pub async fn ends_clean(load: LoadHandle) -> Report {
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.longest_request < DELAY_MAX, "{report}");
    report
}

/// Reads.
///
/// # Errors
/// What the server answers.
pub async fn read(link: &Link, extent: Extent) -> Result<Bytes, Failure> {
    let reply = link.call(Request::Read { extent, dont_fragment: false }).await?;
    let Reply::Read(parts) = reply else { panic!("a read was answered with {reply:?}") };
    let mut content = BytesMut::new();
    for part in parts {
        match part {
            ReadPart::Data(data) => content.extend_from_slice(&data),
            ReadPart::Hole(length) => content.resize(content.len() + length as usize, 0),
        }
    }
    Ok(content.freeze())
}

/// Writes.
///
/// # Errors
/// What the server answers.
pub async fn write(link: &Link, offset: u64, data: impl Into<Bytes>) -> Result<(), Failure> {
    link.call(Request::Write { offset, data: data.into(), fua: false }).await.map(|_| ())
}
