//! Makes the seed corpora: listens in on real conversations between the field's clients and servers,
//! and between those servers and our client, and adds what our own encoders say.
//!
//! `cargo run --features seeds --bin seeds -- seeds` writes one folder for each target. It needs
//! nbdkit, qemu-nbd, nbdinfo and qemu-io.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blockferry_block::{BootId, ClaimEpoch, Extent, Generation, MigrationId, SessionId, Token};
use blockferry_device::{Errno, Failure, ReadPart, Reply, Request, Segment, SegmentState};
use blockferry_fuzz::{asked, scsi_seeds, style};
use blockferry_nbd_session::{ConnectOptions, FenceRequest, Role, RoleClaim};
use blockferry_net::Address;
use blockferry_nbd_wire::{
    Cookie, ExportInfo, Negotiated, Outbox, RequestDecoder, ServerHandshake, ServerStep,
    encode_reply, encode_request,
};
use bytes::{Buf, Bytes, BytesMut};

/// The servers; `SOCKET` and `FILE` are put in.
const SERVERS: [&[&str]; 4] = [
    &["nbdkit", "-f", "--exit-with-parent", "-U", "SOCKET", "memory", "64K"],
    &["nbdkit", "-f", "--exit-with-parent", "-U", "SOCKET", "--no-sr", "memory", "64K"],
    &["nbdkit", "-f", "--exit-with-parent", "-U", "SOCKET", "--mask-handshake=0", "memory", "64K"],
    &["qemu-nbd", "-t", "-e", "8", "-k", "SOCKET", "-f", "raw", "--discard=unmap", "FILE"],
];
/// The clients; `URI` is put in.
const CLIENTS: [&[&str]; 4] = [
    &["nbdinfo", "--json", "URI"],
    &["nbdinfo", "--map", "URI"],
    &["nbdinfo", "--list", "URI"],
    &[
        "qemu-io",
        "-f",
        "raw",
        "-c",
        "write -P 1 100 700",
        "-c",
        "read 0 1k",
        "-c",
        "write -z 4k 4k",
        "-c",
        "discard 8k 4k",
        "-c",
        "flush",
        "URI",
    ],
];
/// No seed is longer, in bytes: the whole must stay small.
const SEED_BYTES_MAX: usize = 4096;

/// What went over one connection.
#[derive(Default)]
struct Heard {
    from_client: Vec<u8>,
    from_server: Vec<u8>,
}

/// Sits between clients and a server and listens.
struct Wiretap {
    socket: PathBuf,
    heard: Arc<Mutex<Vec<Arc<Mutex<Heard>>>>>,
}

fn main() {
    let target = PathBuf::from(std::env::args().nth(1).expect("usage: seeds FOLDER"));
    let folder = tempfile::tempdir().expect("a folder for sockets");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for (number, server) in SERVERS.iter().enumerate() {
        let place = folder.path().join(number.to_string());
        std::fs::create_dir(&place).expect("a folder for a server");
        let mut process = start(server, &place);
        let tap = Wiretap::new(&place.join("tap"), &place.join("nbd"));
        for client in CLIENTS {
            run(client, &tap.socket);
        }
        for heard in tap.take() {
            let heard = heard.lock().expect("nobody panics");
            save(&target, "server_handshake", &heard.from_client);
            if let Some(requests) = requests_in(&heard.from_client) {
                save(&target, "request_parser", &requests);
            }
        }
        for variant in 0..4_u8 {
            runtime.block_on(use_server(variant, &tap.socket));
            for heard in tap.take() {
                let heard = heard.lock().expect("nobody panics");
                save(&target, "server_handshake", &heard.from_client);
                save(&target, "client_handshake", &[&[variant], &heard.from_server[..]].concat());
            }
        }
        process.kill().expect("our own child");
        process.wait().expect("our own child");
    }
    say_it_ourselves(&target);
    for (name, seed) in scsi_seeds() {
        save(&target, name, &seed);
    }
}

fn start(server: &[&str], place: &Path) -> Child {
    let file = place.join("file");
    std::fs::File::create(&file).and_then(|file| file.set_len(64 << 10)).expect("a file");
    let socket = place.join("nbd");
    let named = server.iter().map(|word| {
        word.replace("SOCKET", &socket.to_string_lossy()).replace("FILE", &file.to_string_lossy())
    });
    let named: Vec<String> = named.collect();
    let child =
        Command::new(&named[0]).args(&named[1..]).stdin(Stdio::null()).spawn().expect("a server");
    while UnixStream::connect(&socket).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn run(client: &[&str], socket: &Path) {
    let uri = format!("nbd+unix:///?socket={}", socket.display());
    let words: Vec<String> = client.iter().map(|word| word.replace("URI", &uri)).collect();
    // Some of these servers cannot do what some of the clients want; that is heard too.
    let _ = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output();
}

/// Our client, as the variants of the target `client_handshake` want it.
async fn use_server(variant: u8, socket: &Path) {
    let address = Address::Unix(socket.to_owned());
    match variant {
        2 => drop(blockferry_nbd_session::list(&address).await),
        3 => {
            let request = fence_request();
            let wait = Duration::from_secs(5);
            drop(blockferry_nbd_session::fence(&address, &request, wait).await);
        }
        _ => {
            let mut options = ConnectOptions::new(address, "");
            options.role = (variant == 1).then(claim);
            options.role_required = false;
            if let Ok(link) = blockferry_nbd_session::connect(&options).await {
                link.disconnect().await;
            }
        }
    }
}

impl Wiretap {
    fn new(socket: &Path, server: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket to listen in on");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all: Arc<Mutex<Vec<Arc<Mutex<Heard>>>>> = Arc::clone(&heard);
        let server = server.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = UnixStream::connect(&server).expect("the server");
                let heard = Arc::<Mutex<Heard>>::default();
                all.lock().expect("nobody panics").push(Arc::clone(&heard));
                listen(&client, &server, &heard, |heard| &mut heard.from_client);
                listen(&server, &client, &heard, |heard| &mut heard.from_server);
            }
        });
        Self { socket: socket.to_owned(), heard }
    }

    /// What was heard so far, once the last bytes have come.
    fn take(&self) -> Vec<Arc<Mutex<Heard>>> {
        std::thread::sleep(Duration::from_millis(200));
        std::mem::take(&mut *self.heard.lock().expect("nobody panics"))
    }
}

fn listen(
    from: &UnixStream,
    to: &UnixStream,
    heard: &Arc<Mutex<Heard>>,
    side: fn(&mut Heard) -> &mut Vec<u8>,
) {
    let mut from = from.try_clone().expect("a socket");
    let mut to = to.try_clone().expect("a socket");
    let heard = Arc::clone(heard);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            side(&mut heard.lock().expect("nobody panics")).extend(&buffer[..length]);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// What a client sent after its handshake, behind the byte that names the framing.
fn requests_in(from_client: &[u8]) -> Option<Vec<u8>> {
    let mut input = BytesMut::from(from_client);
    let mut server = ServerHandshake::new();
    let export = ExportInfo {
        name: String::new(),
        description: String::new(),
        device: blockferry_fuzz::device(),
    };
    loop {
        match server.step(&mut input) {
            Ok(ServerStep::Open { .. }) => server.answer_open(Ok(&export)),
            Ok(ServerStep::List) => server.answer_list(&[]),
            Ok(ServerStep::Transmit(_)) => break,
            _ => return None,
        }
    }
    let extended = input.starts_with(&0x21e4_1c71_u32.to_be_bytes());
    let variant = if extended { 18 } else { 17 };
    (!input.is_empty()).then(|| [&[variant], &input[..]].concat())
}

/// Our own requests, replies and options.
fn say_it_ourselves(target: &Path) {
    for variant in 0..3_u8 {
        let negotiated = Negotiated { style: style(variant), allocation_context: Some(1) };
        let mut requests = Outbox::new();
        let mut replies = Outbox::new();
        let mut failures = Outbox::new();
        for (cookie, request) in (0..).zip(asked()) {
            let status = matches!(request, Request::BlockStatus { .. });
            if variant == 0 && status {
                continue;
            }
            let mut one = Outbox::new();
            encode_request(&mut one, negotiated.style, Cookie(cookie), &request);
            encode_request(&mut requests, negotiated.style, Cookie(cookie), &request);
            let frame = RequestDecoder::new(negotiated.style).decode(&mut drain(one));
            let header = frame.expect("our own bytes").expect("a whole request").header;
            let failure = Failure::new(Errno::NoSpc, "the pool is full");
            encode_reply(&mut replies, &negotiated, &header, Ok(reply(&request)));
            encode_reply(&mut failures, &negotiated, &header, Err(failure));
        }
        save(target, "request_parser", &[&[variant | 16], &drain(requests)[..]].concat());
        save(target, "reply_parser", &[&[variant], &drain(replies)[..]].concat());
        save(target, "reply_parser", &[&[variant], &drain(failures)[..]].concat());
    }
    let mut data = Vec::new();
    claim().encode(&mut data);
    save(target, "private_options", &data);
    let mut data = Vec::new();
    fence_request().encode(&mut data);
    save(target, "private_options", &data);
    for (name, seed) in blockferry_fuzz::iscsi_seeds() {
        save(target, name, &seed);
    }
    for seed in 0..8_u8 {
        let bytes: Vec<u8> = (0..=255).map(|i: u8| i.wrapping_mul(31).wrapping_add(seed)).collect();
        save(target, "roundtrip", &bytes);
    }
}

fn reply(request: &Request) -> Reply {
    let length = request.extent().map_or(0, Extent::len);
    match request {
        Request::Read { extent, .. } if extent.is_empty() => Reply::Read(Vec::new()),
        Request::Read { .. } => {
            let data = Bytes::from(vec![7; 100]);
            Reply::Read(vec![ReadPart::Data(data), ReadPart::Hole(length - 100)])
        }
        Request::BlockStatus { .. } => Reply::BlockStatus(vec![
            Segment { length: 100, state: SegmentState::DATA },
            Segment { length: length - 100, state: SegmentState::HOLE },
        ]),
        _ => Reply::Done,
    }
}

fn claim() -> RoleClaim {
    RoleClaim {
        role: Role::Mirror,
        standby: true,
        migration: MigrationId::from_bytes([1; 16]),
        token: Token::from_bytes([2; 32]),
        session: SessionId::from_bytes([3; 16]),
        generation: Generation(4),
        source_boot: BootId(5),
        destination_boot: BootId(6),
        claim_epoch: ClaimEpoch(7),
        arrangement: "unix:/run/switch".to_owned(),
    }
}

fn fence_request() -> FenceRequest {
    FenceRequest {
        export: "vol".to_owned(),
        session: SessionId::from_bytes([1; 16]),
        generation: Generation(2),
    }
}

fn drain(mut out: Outbox) -> BytesMut {
    let length = out.remaining();
    BytesMut::from(&out.copy_to_bytes(length)[..])
}

/// Writes a seed under a name made of its content, so that equal ones are one.
fn save(target: &Path, name: &str, seed: &[u8]) {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let seed = &seed[..seed.len().min(SEED_BYTES_MAX)];
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let folder = target.join(name);
    std::fs::create_dir_all(&folder).expect("a folder for seeds");
    std::fs::write(folder.join(format!("{:016x}", hasher.finish())), seed).expect("a seed's file");
}
