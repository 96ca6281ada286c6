//! Other people's clients use our server.

mod support;

use std::process::Stdio;

use blockferry_device::Request;
use blockferry_nbd_session::NbdUri;
use blockferry_net::{Address, Limits};
use support::*;
use tokio::process::Command;

/// Runs a tool to its end; gives what it printed.
async fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = soon(output).await.unwrap_or_else(|error| panic!("{program}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?} failed: {stdout}{stderr}");
    stdout
}

fn uri(server: &Server) -> String {
    NbdUri { address: server.address.clone(), export: "vol".to_owned() }.to_string()
}

async fn on_unix(size: u64) -> (tempfile::TempDir, std::sync::Arc<Memory>, Server) {
    let folder = tempfile::tempdir().unwrap();
    let device = Memory::new(size);
    let address = Address::Unix(folder.path().join("nbd.sock"));
    let server = Server::start_at(&address, device.clone(), Limits::default()).await;
    (folder, device, server)
}

#[tokio::test]
async fn nbdinfo_sees_size_flags_description_and_contexts() {
    let (_folder, _device, server) = on_unix(MIB + 1).await;
    let told = run("nbdinfo", &["--json", &uri(&server)]).await;
    for expected in [
        "\"export-size\": 1048577",
        "\"description\": \"a test volume\"",
        "\"base:allocation\"",
        "\"is_read_only\": false",
        "\"can_multi_conn\": true",
        "\"can_fua\": true",
        "\"can_trim\": true",
        "\"can_zero\": true",
        "\"can_df\": true",
        "\"can_cache\": true",
        "\"can_fast_zero\": true",
        "\"block_size_minimum\": 1",
        "\"block_size_maximum\": 33554432",
    ] {
        assert!(told.contains(expected), "no {expected} in {told}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nbdinfo_lists_the_exports_and_maps_the_holes() {
    let (_folder, device, server) = on_unix(MIB).await;
    let address = uri(&server).replace("vol", "");
    assert!(run("nbdinfo", &["--list", &address]).await.contains("export=\"vol\""));
    let link = soon(blockferry_nbd_session::connect(&server.options())).await.unwrap();
    soon(link.request(write(65_536, vec![1; 65_536]))).await.unwrap();
    let map = run("nbdinfo", &["--map", &uri(&server)]).await;
    let rows: Vec<Vec<&str>> = map.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["0", "65536", "3"]);
    assert_eq!(rows[1][..3], ["65536", "65536", "0"]);
    assert_eq!(rows[2][..3], ["131072", "917504", "3"]);
    assert!(device.calls().iter().any(|call| matches!(call, Request::BlockStatus { .. })));
    server.stop().await;
}

#[tokio::test]
async fn qemu_img_sees_the_size_and_maps_the_holes() {
    let (_folder, _device, server) = on_unix(MIB).await;
    let link = soon(blockferry_nbd_session::connect(&server.options())).await.unwrap();
    soon(link.request(write(65_536, vec![1; 65_536]))).await.unwrap();
    let told = run("qemu-img", &["info", "--output=json", &uri(&server)]).await;
    assert!(told.contains("\"virtual-size\": 1048576"), "{told}");
    let map = run("qemu-img", &["map", "--output=json", &uri(&server)]).await;
    assert!(map.contains("\"start\": 65536, \"length\": 65536"), "{map}");
    server.stop().await;
}

#[tokio::test]
async fn qemu_io_reads_writes_discards_and_flushes() {
    let (_folder, device, server) = on_unix(8 * MIB).await;
    let commands = [
        "-c",
        "write -P 0x5a 100 70000",
        "-c",
        "write -f -P 0x11 1M 64k",
        "-c",
        "flush",
        "-c",
        "write -z 1M 4k",
        "-c",
        "write -z -u 1028k 4k",
        "-c",
        "discard 2M 64k",
        "-c",
        "read -P 0x5a 100 70000",
        "-c",
        "read -P 0 1M 8k",
        "-c",
        "read -P 0x11 1032k 56k",
        "-c",
        "read -P 0 0 100",
    ];
    let uri = uri(&server);
    let args: Vec<&str> = ["-f", "raw"].into_iter().chain(commands).chain([&uri[..]]).collect();
    let told = run("qemu-io", &args).await;
    assert!(!told.contains("failed"), "{told}");
    let calls = device.calls();
    for (what, is) in [
        ("flush", calls.iter().any(|call| matches!(call, Request::Flush))),
        ("trim", calls.iter().any(|call| matches!(call, Request::Trim { .. }))),
        ("fua", calls.iter().any(Request::fua)),
        ("zeroes", calls.iter().any(|call| matches!(call, Request::WriteZeroes { .. }))),
    ] {
        assert!(is, "no {what} reached the device: {calls:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nbdcopy_brings_a_file_there_and_back_over_several_connections() {
    let (folder, device, server) = on_unix(64 * MIB).await;
    let file = folder.path().join("file");
    let back = folder.path().join("back");
    let mut content = pattern(64 << 20).to_vec();
    content[(8 << 20)..(24 << 20)].fill(0);
    std::fs::write(&file, &content).unwrap();
    let (file, back) = (file.to_str().unwrap(), back.to_str().unwrap());
    run("nbdcopy", &["--connections=4", file, &uri(&server)]).await;
    assert_eq!(device.content(extent(0, 64 * MIB)), content);
    run("nbdcopy", &["--connections=4", &uri(&server), back]).await;
    assert_eq!(std::fs::read(back).unwrap(), content);
    server.stop().await;
}

/// What the `nbd` crate's client read back from where it wrote.
fn use_nbd_crate(address: &str) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom, Write};
    let stream = std::net::TcpStream::connect(address)?;
    let export = nbd::client::handshake(&stream, b"vol")?;
    assert_eq!(export.size, MIB);
    let mut client = nbd::client::NbdClient::new(&stream, &export);
    client.seek(SeekFrom::Start(1000))?;
    client.write_all(b"written by the nbd crate")?;
    client.flush()?;
    client.seek(SeekFrom::Start(998))?;
    let mut back = vec![0; 28];
    client.read_exact(&mut back)?;
    Ok(back)
}

#[tokio::test]
async fn the_nbd_crates_client_reads_what_it_wrote() {
    let server = Server::start(Memory::new(MIB)).await;
    let address = server.address.to_string();
    let back = tokio::task::spawn_blocking(move || use_nbd_crate(&address));
    let back = soon(back).await.unwrap().unwrap();
    assert_eq!(back, b"\0\0written by the nbd crate\0\0");
    server.stop().await;
}

/// Table 2 of the failure catalogue: what a bad request is answered with.
const BAD_REQUESTS: &str = r#"
import os
def code(call):
    try:
        call()
        return 0
    except nbd.Error as e:
        return e.errno
h.set_strict_mode(0)
h.connect_uri(os.environ["URI"])
size = h.get_size()
print("write0", code(lambda: h.pwrite(b"", 0)))
print("trim0", code(lambda: h.trim(0, 0)))
print("read0", code(lambda: h.pread(0, 0)))
print("zero0", code(lambda: h.zero(0, 0)))
print("cache0", code(lambda: h.cache(0, 0)))
print("read_past", code(lambda: h.pread(512, size - 1)))
print("write_past", code(lambda: h.pwrite(b"x" * 512, size - 1)))
print("zero_past", code(lambda: h.zero(512, size - 1)))
print("trim_past", code(lambda: h.trim(512, size - 1)))
print("overflow", code(lambda: h.trim(4096, 2**64 - 1)))
print("read_large", code(lambda: h.pread((64 << 20), 0)))
print("flag", code(lambda: h.trim(512, 0, 1 << 1)))
print("still_alive", code(lambda: h.pwrite(b"y" * 512, 0)), h.pread(2, 0))
h.shutdown()
"#;

async fn table_2(before: &str) -> String {
    let (_folder, _device, server) = on_unix(128 * MIB).await;
    let script = format!("{before}{BAD_REQUESTS}");
    let output = Command::new("nbdsh")
        .args(["-n", "-c", "h = nbd.NBD()", "-c", &script])
        .env("URI", uri(&server))
        // The module belongs to the system's own Python.
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = soon(output).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    server.stop().await;
    String::from_utf8(output.stdout).unwrap()
}

const TABLE_2: &str = "\
write0 0
trim0 0
read0 0
zero0 0
cache0 0
read_past EINVAL
write_past ENOSPC
zero_past ENOSPC
trim_past EINVAL
overflow EINVAL
read_large EINVAL
flag EINVAL
still_alive 0 bytearray(b'yy')
";

#[tokio::test]
async fn bad_requests_are_answered_as_the_table_says_with_and_without_structured_replies() {
    assert_eq!(table_2("").await, TABLE_2);
    assert_eq!(table_2("h.set_request_structured_replies(False)\n").await, TABLE_2);
}
