//! A file system of a few pages, for what runs out of room: a tmpfs in a mount namespace of its own,
//! where one can be had (it takes root).

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Process;

/// Mounts, says so, and stays until its input ends.
const MOUNT: &str = "mount -t tmpfs -o size=$1 none \"$2\" && echo mounted && exec cat";

/// Bytes of a write that fills it.
const PIECE: usize = 4096;

/// A small file system on a folder, for those who run [`SmallDisk::under`] it.
pub struct SmallDisk {
    holder: Process,
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `size`, as mount takes it, on a new folder; without the right to, says so and
    /// gives `None`.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub async fn over(folder: &Path, size: &str) -> Option<Self> {
        let tried = Command::new("unshare").args(["--mount", "true"]).status();
        if !tried.is_ok_and(|status| status.success()) {
            eprintln!("not checked: nothing can be mounted here");
            return None;
        }
        std::fs::create_dir_all(folder).expect("a folder");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", MOUNT, "sh", size]).arg(folder);
        let mut holder = Process::start_listening("a small disk", &mut command);
        holder.said("mounted", 1).await;
        Some(Self { holder, folder: folder.to_owned() })
    }

    /// What a program has to run under to see it.
    pub fn under(&self) -> Vec<String> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.pid());
        vec!["nsenter".to_owned(), namespace]
    }

    /// Takes all the room that is left.
    ///
    /// # Panics
    /// When there is another error than that.
    pub fn fill(&self) {
        let mut file = File::create(self.inside("ballast")).expect("a file");
        for piece in [PIECE, 1] {
            let error = loop {
                if let Err(error) = file.write_all(&vec![0xFF; piece]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
    }

    /// Gives it back.
    ///
    /// # Panics
    /// When it was not taken.
    pub fn empty(&self) {
        std::fs::remove_file(self.inside("ballast")).expect("it was there");
    }

    /// A file on it, as this process sees it.
    pub fn inside(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        root.join(self.folder.strip_prefix("/").unwrap_or(&self.folder)).join(name)
    }
}
