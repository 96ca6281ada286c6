//! An ext4 file system, mounted on this machine over the switch by nbdfuse and a loop device, is
//! written to while the volume moves; at the destination it is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use blockferry_block::MIB;
use blockferry_tests::cast::{Cluster, Phase, Process, compare, fill_random, run_tool, until};

/// Runs a tool that has to end well; gives what it printed.
async fn tool(program: &str, arguments: &[&str]) -> String {
    let script = run_tool(Command::new(program).args(arguments)).await;
    assert!(script.success, "{program} {arguments:?} failed: {}\n{}", script.out, script.err);
    script.out
}

/// A volume as a file of this machine, that file as a device, and a file system on it. Taken apart
/// in the opposite order when dropped, whatever stands of it.
struct Mounted {
    fuse: Process,
    image: PathBuf,
    device: Option<String>,
    mounted: Option<PathBuf>,
}

impl Mounted {
    async fn start(cluster: &Cluster) -> Self {
        let [image, root] = ["image", "root"].map(|name| cluster.scratch.join(name));
        fs::write(&image, "").expect("a file to mount on");
        fs::create_dir(&root).expect("a folder to mount on");
        let uri = cluster.uri().to_string();
        let mut nbdfuse = Command::new("nbdfuse");
        let fuse = Process::start("nbdfuse", nbdfuse.arg(&image).arg(&uri));
        let mut mounted = Self { fuse, image, device: None, mounted: None };
        mounted.make_file_system(&root).await;
        mounted
    }

    async fn make_file_system(&mut self, root: &Path) {
        let image = self.image.clone();
        let size = || fs::metadata(&image).ok().map(|file| file.len()).filter(|size| *size > 0);
        until("nbdfuse shows the volume", async || size()).await;
        let device = tool("losetup", &["--find", "--show", text(&image)]).await;
        self.device = Some(device.trim().to_owned());
        let device = device.trim();
        tool("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0", device]).await;
        tool("mount", &["-t", "ext4", "-o", "errors=remount-ro", device, text(root)]).await;
        self.mounted = Some(root.to_owned());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mounted.as_ref().expect("a mounted file system").join(name)
    }

    /// Takes it apart; every step has to succeed.
    async fn stop(mut self) {
        tool("umount", &[text(&self.mounted.take().expect("mounted"))]).await;
        tool("losetup", &["--detach", &self.device.take().expect("a device")]).await;
        tool("fusermount3", &["-u", text(&self.image)]).await;
        let status = self.fuse.end_within(Duration::from_secs(30)).await;
        assert!(status.success(), "nbdfuse ended with {status}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let run = |program: &str, argument: &str, what: &str| {
            let _ = Command::new(program).args([argument, what]).output();
        };
        if let Some(mounted) = &self.mounted {
            run("umount", "--lazy", text(mounted));
        }
        if let Some(device) = &self.device {
            run("losetup", "--detach", device);
        }
        if self.fuse.ended().is_none() {
            run("fusermount3", "-uz", text(&self.image));
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[tokio::test(flavor = "multi_thread")]
async fn for_root_a_file_system_mounted_by_nbdfuse_is_whole_at_the_destination() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("for_root_a_file_system_mounted_by_nbdfuse: not tried, only root may mount");
        return;
    }
    let cluster = Cluster::random(64).await;
    let mounted = Mounted::start(&cluster).await;
    let kept = cluster.scratch.join("kept");
    fs::create_dir(&kept).expect("a folder");
    for phase in Phase::ALL {
        cluster.enter(phase).await;
        for name in [format!("{phase:?}-a"), format!("{phase:?}-b")] {
            fill_random(&kept.join(&name), 3 * MIB);
            fs::copy(kept.join(&name), mounted.path(&name)).expect("room for it");
            tool("sync", &["--file-system", text(&mounted.path(&name))]).await;
        }
    }
    mounted.stop().await;
    let copy = cluster.copy();
    tool("e2fsck", &["-fn", text(&copy)]).await;
    for file in fs::read_dir(&kept).expect("a folder").map_while(Result::ok) {
        let found = cluster.scratch.join("found");
        let dump = format!("dump {} {}", file.file_name().display(), text(&found));
        tool("debugfs", &["-R", &dump, text(&copy)]).await;
        compare(&file.path(), &found).expect("what was written");
    }
}
