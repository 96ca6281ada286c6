//! What the tests of this crate say to devices, and how they read the answers.
#![allow(dead_code, reason = "each test program uses some of it")]

pub(crate) mod forgetful;
pub(crate) mod server;

use std::path::Path;

use blockferry_block::Extent;
use blockferry_device::{Device, Failure, ReadPart, Reply, Request, Segment};
use bytes::Bytes;

pub(crate) fn extent(start: u64, end: u64) -> Extent {
    Extent::between(start, end)
}

pub(crate) async fn read_parts(
    device: &dyn Device,
    extent: Extent,
) -> Result<Vec<ReadPart>, Failure> {
    match device.call(Request::Read { extent, dont_fragment: false }).await? {
        Reply::Read(parts) => Ok(parts),
        other => panic!("a read was answered with {other:?}"),
    }
}

pub(crate) async fn read(device: &dyn Device, extent: Extent) -> Result<Vec<u8>, Failure> {
    Ok(flatten(&read_parts(device, extent).await?))
}

pub(crate) fn flatten(parts: &[ReadPart]) -> Vec<u8> {
    let mut content = Vec::new();
    for part in parts {
        assert!(!part.is_empty(), "a read has an empty part");
        match part {
            ReadPart::Data(data) => content.extend_from_slice(data),
            ReadPart::Hole(length) => {
                content.resize(content.len() + usize::try_from(*length).unwrap(), 0);
            }
        }
    }
    content
}

pub(crate) async fn write(device: &dyn Device, offset: u64, data: &[u8]) -> Result<(), Failure> {
    let data = Bytes::copy_from_slice(data);
    done(device, Request::Write { offset, data, fua: false }).await
}

pub(crate) async fn trim(device: &dyn Device, extent: Extent) -> Result<(), Failure> {
    done(device, Request::Trim { extent, fua: false }).await
}

pub(crate) async fn flush(device: &dyn Device) -> Result<(), Failure> {
    done(device, Request::Flush).await
}

pub(crate) async fn done(device: &dyn Device, request: Request) -> Result<(), Failure> {
    match device.call(request).await? {
        Reply::Done => Ok(()),
        other => panic!("expected no content, got {other:?}"),
    }
}

pub(crate) async fn status(
    device: &dyn Device,
    extent: Extent,
    one: bool,
) -> Result<Vec<Segment>, Failure> {
    match device.call(Request::BlockStatus { extent, one }).await? {
        Reply::BlockStatus(segments) => Ok(segments),
        other => panic!("a block status was answered with {other:?}"),
    }
}

/// A directory on the disk, and one in memory where there is such a file system.
pub(crate) fn directories() -> Vec<tempfile::TempDir> {
    let mut directories = vec![tempfile::tempdir().unwrap()];
    if Path::new("/dev/shm").is_dir() {
        directories.push(tempfile::tempdir_in("/dev/shm").unwrap());
    }
    directories
}

/// A file of `size` zeroes, none allocated.
pub(crate) fn sparse_file(directory: &Path, size: u64) -> std::path::PathBuf {
    let path = directory.join("volume");
    std::fs::File::create(&path).unwrap().set_len(size).unwrap();
    path
}
