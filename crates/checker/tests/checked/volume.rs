//! A volume in memory, with connections to it: honest ones, and each of the others named by its sin.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use blockferry_block::Extent;
use blockferry_device::{
    Answer, Device, DeviceInfo, Errno, Failure, Features, ReadPart, Reply, Request,
};
use bytes::Bytes;

/// What a connection does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sin {
    None,
    DropsAWrite,
    ReturnsAnOlderValue,
    TearsABlock,
    MisdirectsABlock,
    FlipsABit,
    IgnoresTrim,
    AnswersBeforeItWrites,
    ReadsACopyThatLags,
    Fails,
    AnswersTooLittle,
    /// No sin: reads and writes go on at the same time, as in a page cache.
    WorksInSmallSteps,
}

/// The sin is committed at every so many-th request of its kind.
const EVERY: u64 = 5;

/// Bytes that are moved at once where reads and writes race.
const SMALL: usize = 100;

#[derive(Debug)]
pub(crate) struct Volume {
    info: DeviceInfo,
    bytes: Mutex<Vec<u8>>,
    /// What it held some time ago.
    copy: Mutex<Vec<u8>>,
    calls: AtomicU64,
    /// Held while a write takes its small steps: other writes wait, reads do not.
    writing: tokio::sync::Mutex<()>,
}

impl Volume {
    pub(crate) fn new(size: usize) -> Arc<Self> {
        let features = Features {
            flush: true,
            fua: true,
            trim: true,
            write_zeroes: true,
            multi_conn: true,
            ..Features::default()
        };
        Arc::new(Self {
            info: DeviceInfo::new(size as u64, features),
            bytes: Mutex::new(vec![0; size]),
            copy: Mutex::new(vec![0; size]),
            calls: AtomicU64::new(0),
            writing: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn fill(&self, byte: u8) {
        self.bytes.lock().unwrap().fill(byte);
    }

    pub(crate) fn connect(self: &Arc<Self>, sin: Sin) -> Arc<dyn Device> {
        Arc::new(Connection { volume: Arc::clone(self), sin })
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn write(&self, extent: Extent, data: &[u8]) {
        self.bytes.lock().unwrap()[range(extent)].copy_from_slice(data);
    }

    fn read(&self, extent: Extent) -> Vec<u8> {
        self.bytes.lock().unwrap()[range(extent)].to_vec()
    }

    fn is_time(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1
    }
}

fn range(extent: Extent) -> std::ops::Range<usize> {
    usize::try_from(extent.start()).unwrap()..usize::try_from(extent.end()).unwrap()
}

struct Connection {
    volume: Arc<Volume>,
    sin: Sin,
}

impl Device for Connection {
    fn info(&self) -> &DeviceInfo {
        &self.volume.info
    }

    fn call(&self, request: Request) -> Answer {
        let (volume, sin) = (Arc::clone(&self.volume), self.sin);
        volume.info.check(&request).expect("only requests that fit are sent");
        Answer::later(async move {
            tokio::task::yield_now().await;
            let reply = match request {
                Request::Read { extent, .. } => read(&volume, sin, extent).await?,
                Request::Write { offset, data, .. } => {
                    write(&volume, sin, offset, data).await?;
                    Reply::Done
                }
                Request::Trim { .. } if sin == Sin::IgnoresTrim => Reply::Done,
                Request::Trim { extent, .. } | Request::WriteZeroes { extent, .. } => {
                    volume.write(extent, &vec![0; usize::try_from(extent.len()).unwrap()]);
                    Reply::Done
                }
                _ => Reply::Done,
            };
            tokio::task::yield_now().await;
            Ok(reply)
        })
    }
}

async fn read(volume: &Volume, sin: Sin, extent: Extent) -> Result<Reply, Failure> {
    let mut content = volume.read(extent);
    match sin {
        Sin::ReturnsAnOlderValue if volume.is_time() => {
            content = volume.copy.lock().unwrap()[range(extent)].to_vec();
        }
        Sin::ReadsACopyThatLags => {
            if volume.is_time() {
                *volume.copy.lock().unwrap() = volume.bytes.lock().unwrap().clone();
            }
            content = volume.copy.lock().unwrap()[range(extent)].to_vec();
        }
        Sin::FlipsABit if volume.is_time() => content[77] ^= 4,
        Sin::AnswersTooLittle if volume.is_time() => drop(content.pop()),
        Sin::WorksInSmallSteps => {
            content.clear();
            for piece in extent.pieces(SMALL as u64) {
                content.extend(volume.read(piece));
                tokio::task::yield_now().await;
            }
        }
        _ => {}
    }
    let zeroes = content.iter().take_while(|byte| **byte == 0).count();
    let rest = Bytes::from(content.split_off(zeroes));
    let parts = [ReadPart::Hole(zeroes as u64), ReadPart::Data(rest)];
    Ok(Reply::Read(parts.into_iter().filter(|part| !part.is_empty()).collect()))
}

async fn write(volume: &Arc<Volume>, sin: Sin, offset: u64, data: Bytes) -> Result<(), Failure> {
    let extent = Extent::new(offset, data.len() as u64).unwrap();
    let block = Extent::between(offset, offset + 4096);
    match sin {
        Sin::DropsAWrite if volume.is_time() => {}
        Sin::TearsABlock if volume.is_time() => {
            let half = Extent::between(offset, offset + 2048);
            volume.write(half, &data[..2048]);
            let rest = Extent::between(block.end(), extent.end());
            volume.write(rest, &data[4096..]);
        }
        Sin::MisdirectsABlock if volume.is_time() && extent.len() > 4096 => {
            volume.write(extent, &data);
            volume.write(block, &data[4096..8192]);
        }
        Sin::AnswersBeforeItWrites if volume.is_time() => {
            let volume = Arc::clone(volume);
            tokio::spawn(async move {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                volume.write(extent, &data);
            });
        }
        Sin::Fails if volume.is_time() => {
            return Err(Failure::new(Errno::Io, "the disk is gone"));
        }
        Sin::WorksInSmallSteps => {
            let _alone = volume.writing.lock().await;
            let mut rest = &*data;
            for piece in extent.pieces(SMALL as u64) {
                let (now, later) = rest.split_at(usize::try_from(piece.len()).unwrap());
                volume.write(piece, now);
                rest = later;
                tokio::task::yield_now().await;
            }
        }
        Sin::ReturnsAnOlderValue => {
            let mut copy = volume.copy.lock().unwrap();
            copy[range(extent)].copy_from_slice(&volume.read(extent));
            volume.write(extent, &data);
        }
        _ => {
            let _alone = volume.writing.lock().await;
            volume.write(extent, &data);
        }
    }
    Ok(())
}
