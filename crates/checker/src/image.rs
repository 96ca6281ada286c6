//! A raw image file (or block device), read as the volume that it holds.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use blockferry_block::Extent;
use blockferry_device::{
    Answer, Device, DeviceInfo, Errno, Failure, Features, ReadPart, Reply, Request,
};
use tokio::task::spawn_blocking;

/// A file that is only read: to verify a journal on what a server has left.
#[derive(Debug)]
pub struct ImageFile {
    file: Arc<File>,
    info: DeviceInfo,
}

impl ImageFile {
    /// Opens the file; its length is the volume's size.
    ///
    /// # Errors
    /// When it cannot be opened or has no length.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        // A block device has its size at its end, not in its metadata.
        let size = file.seek(SeekFrom::End(0))?;
        let features = Features { read_only: true, ..Features::default() };
        Ok(Self { file: Arc::new(file), info: DeviceInfo::new(size, features) })
    }
}

impl Device for ImageFile {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, request: Request) -> Answer {
        let file = Arc::clone(&self.file);
        let checked = self.info.check(&request);
        Answer::later(async move {
            checked?;
            let Request::Read { extent, .. } = request else {
                return Err(Failure::new(Errno::Inval, "an image file is only read"));
            };
            let read = spawn_blocking(move || read(&file, extent)).await;
            read.map_err(io::Error::other)?.map_err(Failure::from)
        })
    }
}

fn read(file: &File, extent: Extent) -> io::Result<Reply> {
    let length = usize::try_from(extent.len()).map_err(io::Error::other)?;
    let mut data = vec![0; length];
    file.read_exact_at(&mut data, extent.start())?;
    Ok(Reply::Read(vec![ReadPart::Data(data.into())]))
}
