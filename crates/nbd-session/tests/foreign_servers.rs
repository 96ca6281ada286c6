//! Our client uses other people's servers, from the newest to the oldest way of speaking.

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use blockferry_device::{Errno, ReadPart, Reply, Request, SegmentState};
use blockferry_nbd_session::{
    CallError, ConnectError, ConnectOptions, FenceOutcome, FenceRequest, Link, LinkEnd, connect,
    fence, list,
};
use blockferry_net::Address;
use support::*;
use tokio::process::{Child, Command};

/// Somebody else's server on a unix socket; killed when dropped.
struct Foreign {
    folder: tempfile::TempDir,
    _process: Child,
}

impl Foreign {
    /// Starts the program, whose arguments may name the socket as `SOCKET` and a file of 8 MiB as
    /// `FILE`, and waits until it listens.
    async fn start(program: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("nbd.sock");
        let file = folder.path().join("file");
        std::fs::File::create(&file).unwrap().set_len(8 * MIB).unwrap();
        let named = |text: &&str| {
            text.replace("SOCKET", socket.to_str().unwrap()).replace("FILE", file.to_str().unwrap())
        };
        let mut process = Command::new(program)
            .args(args.iter().map(named))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        soon(async {
            while tokio::net::UnixStream::connect(&socket).await.is_err() {
                assert_eq!(process.try_wait().unwrap(), None, "{program} ended early");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        Self { folder, _process: process }
    }

    async fn nbdkit(args: &[&str]) -> Self {
        let common = ["--foreground", "--exit-with-parent", "--unix", "SOCKET"];
        Self::start("nbdkit", &[&common[..], args].concat()).await
    }

    async fn qemu_nbd(args: &[&str]) -> Self {
        let common = ["--persistent", "--shared=8", "--socket=SOCKET", "--format=raw"];
        Self::start("qemu-nbd", &[&common[..], args, &["FILE"]].concat()).await
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("nbd.sock")
    }

    fn options(&self, export: &str) -> ConnectOptions {
        options(&self.socket(), export)
    }

    async fn link(&self) -> Link {
        soon(connect(&self.options(""))).await.unwrap()
    }
}

fn options(socket: &Path, export: &str) -> ConnectOptions {
    ConnectOptions::new(Address::Unix(socket.to_owned()), export)
}

/// Writes, reads, and whatever else the server offers; says good-bye.
async fn exercise(link: Link) {
    let data = pattern(100_000);
    soon(link.request(write(4096, data.clone()))).await.unwrap();
    let reply = soon(link.request(read(0, 200_000))).await.unwrap();
    let expected = [&[0; 4096][..], &data, &vec![0; 200_000 - 104_096]].concat();
    assert_eq!(bytes(reply), expected);
    let whole = Request::Read { extent: extent(4096, 100_000), dont_fragment: true };
    assert_eq!(
        soon(link.request(whole)).await.unwrap(),
        Reply::Read(vec![ReadPart::Data(data.clone())])
    );
    let features = link.info().features;
    if features.flush {
        soon(link.request(Request::Flush)).await.unwrap();
    }
    if features.write_zeroes {
        let zeroes = Request::WriteZeroes {
            extent: extent(4096, 4096),
            fua: features.fua,
            no_hole: false,
            fast_zero: false,
        };
        soon(link.request(zeroes)).await.unwrap();
        let reply = soon(link.request(read(4096, 8192))).await.unwrap();
        assert_eq!(bytes(reply), [&[0; 4096][..], &data[4096..8192]].concat());
    }
    if features.trim {
        let trim = Request::Trim { extent: extent(65_536, 4096), fua: false };
        soon(link.request(trim)).await.unwrap();
    }
    if features.block_status {
        let status = Request::BlockStatus { extent: extent(0, 8 * MIB), one: false };
        let Reply::BlockStatus(segments) = soon(link.request(status)).await.unwrap() else {
            panic!("no block status")
        };
        assert!(segments.iter().any(|segment| segment.state == SegmentState::DATA));
        assert!(segments.iter().map(|segment| segment.length).sum::<u64>() <= 8 * MIB);
    }
    let many: Vec<_> = (0..64).map(|i| link.request(read(i * 4096, 4096))).collect();
    for answer in many {
        soon(answer).await.unwrap();
    }
    assert_eq!(soon(link.disconnect()).await, LinkEnd::Disconnected);
}

#[tokio::test]
async fn nbdkit_memory_speaks_structured_replies_with_us() {
    let server = Foreign::nbdkit(&["memory", "8M"]).await;
    let link = server.link().await;
    assert!(!link.extended());
    assert!(link.info().features.block_status);
    exercise(link).await;
}

#[tokio::test]
async fn nbdkit_file_speaks_structured_replies_with_us() {
    let server = Foreign::nbdkit(&["file", "FILE"]).await;
    exercise(server.link().await).await;
}

#[tokio::test]
async fn a_server_without_structured_replies_is_used_with_simple_ones() {
    let server = Foreign::nbdkit(&["--no-sr", "memory", "8M"]).await;
    let link = server.link().await;
    assert!(!link.info().features.block_status);
    exercise(link).await;
}

#[tokio::test]
async fn a_server_without_fixed_newstyle_is_asked_by_export_name() {
    let server = Foreign::nbdkit(&["--mask-handshake=0", "memory", "8M"]).await;
    exercise(server.link().await).await;
    let server = Foreign::nbdkit(&["--mask-handshake=2", "memory", "8M"]).await;
    exercise(server.link().await).await;
}

#[tokio::test]
async fn an_oldstyle_server_is_refused_with_a_clear_reason() {
    let server = Foreign::nbdkit(&["--oldstyle", "memory", "8M"]).await;
    let error = soon(connect(&server.options(""))).await.unwrap_err();
    assert!(error.to_string().contains("oldstyle"), "{error}");
}

#[tokio::test]
async fn qemu_nbd_speaks_extended_headers_with_us_since_it_knows_them() {
    let server = Foreign::qemu_nbd(&["--export-name=disk", "--discard=unmap"]).await;
    let link = soon(connect(&server.options("disk"))).await.unwrap();
    assert_eq!(link.extended(), qemu_version() >= [8, 2]);
    exercise(link).await;
}

/// Major and minor.
fn qemu_version() -> [u32; 2] {
    let said = std::process::Command::new("qemu-nbd").arg("--version").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let mut numbers = said.split_whitespace().nth(1).unwrap().split('.');
    [(); 2].map(|()| numbers.next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn qemu_nbd_refuses_an_unknown_export_and_lists_the_known() {
    let server = Foreign::qemu_nbd(&["--export-name=disk", "--description=some disk"]).await;
    let error = soon(connect(&server.options("tape"))).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Refused { .. }), "{error:?}");
    let entries = soon(list(&Address::Unix(server.socket()))).await.unwrap();
    assert_eq!((&entries[0].name[..], &entries[0].description[..]), ("disk", "some disk"));
}

#[tokio::test]
async fn qemu_nbd_read_only_refuses_writes_before_they_are_sent() {
    let server = Foreign::qemu_nbd(&["--read-only"]).await;
    let link = server.link().await;
    assert!(link.info().features.read_only);
    let error = soon(link.request(write(0, vec![1]))).await.unwrap_err();
    assert!(matches!(error, CallError::Refused(failure) if failure.errno == Errno::Perm));
}

#[tokio::test]
async fn a_servers_block_sizes_bind_the_link() {
    let policy = ["--filter=blocksize-policy", "memory", "8M", "blocksize-minimum=512"];
    let sizes = ["blocksize-preferred=4096", "blocksize-maximum=65536"];
    let errors = ["blocksize-error-policy=error"];
    let server = Foreign::nbdkit(&[&policy[..], &sizes, &errors].concat()).await;
    let link = server.link().await;
    let info = *link.info();
    assert_eq!((info.block_size_min, info.payload_max), (512, 65_536));
    let error = soon(link.request(read(1, 512))).await.unwrap_err();
    assert!(matches!(error, CallError::Refused(failure) if failure.errno == Errno::Inval));
    let data = pattern(512 * 1000);
    soon(link.request(write(512, data.clone()))).await.unwrap();
    let reply = soon(link.request(read(512, 512 * 1000))).await.unwrap();
    assert_eq!(bytes(reply), data);
}

#[tokio::test]
async fn effects_longer_than_4_gib_go_in_pieces_where_the_framing_is_compact() {
    let server = Foreign::nbdkit(&["memory", "10G"]).await;
    let link = server.link().await;
    let size = link.info().size;
    soon(link.request(write(size - 4096, vec![1; 4096]))).await.unwrap();
    let whole = extent(0, size);
    let zeroes =
        Request::WriteZeroes { extent: whole, fua: false, no_hole: false, fast_zero: false };
    assert_eq!(soon(link.request(zeroes)).await, Ok(Reply::Done));
    assert_eq!(bytes(soon(link.request(read(size - 4096, 4096))).await.unwrap()), vec![0; 4096]);
    let trim = Request::Trim { extent: whole, fua: false };
    assert_eq!(soon(link.request(trim)).await, Ok(Reply::Done));
    let status = Request::BlockStatus { extent: whole, one: false };
    let Ok(Reply::BlockStatus(segments)) = soon(link.request(status)).await else { panic!() };
    assert!(segments.iter().all(|segment| segment.state == SegmentState::HOLE));
}

#[tokio::test]
async fn a_foreign_servers_failures_come_through() {
    let script = [
        "eval",
        "get_size=echo 8M",
        "pread=echo ENOSPC the tape is full >&2; exit 1",
        "pwrite=echo EIO broken >&2; exit 1",
        "can_write=exit 0",
    ];
    let server = Foreign::nbdkit(&script).await;
    let link = server.link().await;
    let error = soon(link.request(read(0, 512))).await.unwrap_err();
    assert!(matches!(error, CallError::Refused(failure) if failure.errno == Errno::NoSpc));
    let error = soon(link.request(write(0, vec![1]))).await.unwrap_err();
    assert!(matches!(error, CallError::Refused(failure) if failure.errno == Errno::Io));
}

#[tokio::test]
async fn a_killed_server_loses_the_calls_and_the_link_says_so() {
    let server = Foreign::nbdkit(&["--filter=delay", "memory", "8M", "rdelay=3600"]).await;
    let link = server.link().await;
    let answer = link.request(read(0, 512));
    drop(server);
    assert_eq!(soon(answer).await, Err(CallError::Lost));
    assert!(matches!(soon(link.closed()).await, LinkEnd::Closed | LinkEnd::Network(_)));
}

#[tokio::test]
async fn foreign_servers_do_not_know_fences_or_roles() {
    for server in [Foreign::nbdkit(&["memory", "8M"]).await, Foreign::qemu_nbd(&[]).await] {
        let address = Address::Unix(server.socket());
        let request = FenceRequest {
            export: String::new(),
            session: blockferry_block::SessionId::from_bytes([1; 16]),
            generation: blockferry_block::Generation(2),
        };
        let outcome = soon(fence(&address, &request, PATIENCE)).await.unwrap();
        assert_eq!(outcome, FenceOutcome::Unsupported);
        let mut options = server.options("");
        options.role = Some(claim());
        let error = soon(connect(&options)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
        options.role_required = false;
        let link = soon(connect(&options)).await.unwrap();
        assert!(!link.role_accepted());
        exercise(link).await;
    }
}

/// The server of the `nbd` crate on a unix socket, for one connection after another.
fn nbd_crate_server(socket: &Path) {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let export = nbd::Export { size: 8 * MIB, send_flush: true, ..Default::default() };
            // The client's going is an error to it.
            let _ = nbd::server::handshake(&stream, |_| Ok(export)).and_then(|()| {
                nbd::server::transmission(&stream, std::io::Cursor::new(vec![0; 8 << 20]))
            });
        }
    });
}

#[tokio::test]
async fn the_nbd_crates_server_is_used_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("nbd.sock");
    nbd_crate_server(&socket);
    let link = soon(connect(&options(&socket, ""))).await.unwrap();
    assert_eq!(link.info().size, 8 * MIB);
    exercise(link).await;
}

#[tokio::test]
async fn a_server_that_closes_at_an_unknown_option_is_asked_again_plainly() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("nbd.sock");
    nbd_crate_server(&socket);
    // The role is an option at which that server closes the connection.
    let mut options = options(&socket, "");
    options.role = Some(claim());
    assert!(matches!(soon(connect(&options)).await, Err(ConnectError::Network { .. })));
    options.role_required = false;
    let link = soon(connect(&options)).await.unwrap();
    assert!(!link.role_accepted());
    exercise(link).await;
}
