//! A volume on a block device: a loop device, where one can be had (it takes root). Elsewhere the
//! tests say so and end.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use blockferry_device::{Device, Request};
use blockferry_store::FileStore;
use common::{done, extent, flush, read, sparse_file, status, trim, write};

const SIZE: u64 = 4 << 20;

struct LoopDevice {
    path: PathBuf,
    backing: PathBuf,
    _directory: tempfile::TempDir,
}

impl LoopDevice {
    fn attach() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let backing = sparse_file(directory.path(), SIZE);
        let attached = Command::new("losetup").args(["-f", "--show"]).arg(&backing).output();
        match attached {
            Ok(output) if output.status.success() => {
                let path = String::from_utf8(output.stdout).unwrap().trim().into();
                Some(Self { path, backing, _directory: directory })
            }
            _ => {
                eprintln!("not checked: no loop device can be had here");
                None
            }
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.path).status();
    }
}

fn allocated(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).unwrap()) * 512
}

#[tokio::test]
async fn a_block_device_holds_a_volume_of_its_size_and_zeroes_to_the_byte() {
    let Some(device) = LoopDevice::attach() else { return };
    let store = FileStore::open(&device.path, false).unwrap();
    assert_eq!(store.info().size, SIZE);
    assert!(FileStore::open(&device.path, false).is_err(), "a device is locked, too");
    assert!(store.info().features.trim, "a loop device gives space back");

    write(&store, 0, &vec![0xAA; 4 << 20]).await.unwrap();
    flush(&store).await.unwrap();
    let before = allocated(&device.backing);
    trim(&store, extent(4097, 3 << 20)).await.unwrap();
    let zeroes = Request::WriteZeroes {
        extent: extent((3 << 20) + 1, (3 << 20) + 9000),
        fua: true,
        no_hole: true,
        fast_zero: false,
    };
    done(&store, zeroes).await.unwrap();
    let mut expected = vec![0xAA; 4 << 20];
    expected[4097..3 << 20].fill(0);
    expected[(3 << 20) + 1..(3 << 20) + 9000].fill(0);
    assert!(read(&store, extent(0, SIZE)).await.unwrap() == expected);
    assert!(allocated(&device.backing) < before - (2 << 20), "no space was given back");
    let segments = status(&store, extent(0, SIZE), false).await.unwrap();
    assert_eq!(segments.iter().map(|segment| segment.length).sum::<u64>(), SIZE);
    drop(store);
    let store = FileStore::open(&device.path, true).unwrap();
    assert!(read(&store, extent(0, SIZE)).await.unwrap() == expected);
}
