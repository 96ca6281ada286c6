//! A block device of the kernel's: a loop device, where one can be had (it takes root).

use std::path::{Path, PathBuf};
use std::process::Command;

/// A loop device over a file.
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Attaches one to the file; without one, says so and gives `None`.
    pub fn over(file: &Path) -> Option<Self> {
        let attached = Command::new("losetup").args(["-f", "--show"]).arg(file).output();
        match attached {
            Ok(output) if output.status.success() => {
                let path = String::from_utf8(output.stdout).ok()?;
                Some(Self(path.trim().into()))
            }
            _ => {
                eprintln!("not checked: no loop device can be had here");
                None
            }
        }
    }

    /// The device.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}
