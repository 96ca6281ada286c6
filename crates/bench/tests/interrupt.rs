//! `blockferry-bench` that is interrupted cleans up.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Stands in for the storage program: never listens, and writes down who it is.
const NEVER_LISTENS: &str =
    "#!/bin/sh\n[ \"$1\" != --version ] || exit 0\necho $$ >\"$0.pid\"\nexec sleep 600\n";

const START_MAX: Duration = Duration::from_secs(30);

#[test]
fn a_run_that_is_interrupted_leaves_no_process_and_no_volume_behind() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("target-src");
    fs::write(&program, NEVER_LISTENS)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let volumes = folder.path().join("volumes");
    fs::create_dir(&volumes)?;
    let mut bench = Command::new(env!("CARGO_BIN_EXE_blockferry-bench"));
    bench.args(["run", "--quick", "--only", "scale", "--bin"]).arg(folder.path());
    bench.arg("--out").arg(folder.path()).arg("--tmpfs").arg(&volumes).arg("--disk").arg(&volumes);
    let mut bench = bench.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let started = until_written(&program.with_extension("pid"))?;
    assert!(fs::read_dir(&volumes)?.next().is_some(), "no volume was made");
    kill_process(Pid::from_child(&bench), Signal::TERM)?;
    let status = bench.wait()?;
    assert_eq!((status.code(), status.signal()), (Some(128 + 15), None));
    assert!(has_ended(&started), "process {started} goes on");
    assert!(fs::read_dir(&volumes)?.next().is_none(), "a volume stays");
    Ok(())
}

fn until_written(file: &Path) -> io::Result<String> {
    let begun = Instant::now();
    loop {
        match fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return Ok(text.trim().to_owned()),
            _ if begun.elapsed() > START_MAX => return Err(io::ErrorKind::TimedOut.into()),
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// One that was killed and that nobody waits for is there as a zombie until it is adopted.
fn has_ended(pid: &str) -> bool {
    let begun = Instant::now();
    let runs = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
    };
    while runs() {
        if begun.elapsed() > START_MAX {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}
