//! The `nbd` crate, which knows only the oldest way to join an export, plain replies and one request
//! at a time: its client at every door, and its server as the store of a volume.

use std::fs::{File, OpenOptions};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use blockferry_block::MIB;
use blockferry_nbd_session::NbdUri;
use blockferry_net::Address;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, Phase, VOLUME, busy, compare, connect, fill_random, moves_on,
};
use nbd::client::{NbdClient, handshake};

const SIZE: u64 = 8 * MIB;

/// Where each user writes, so that nobody needs what another wrote.
const PLACE: u64 = 128 << 10;

/// A blocking client of the crate, joined.
fn join(uri: &NbdUri) -> Result<NbdClient<UnixStream>> {
    let Address::Unix(socket) = &uri.address else { panic!("the cluster is on unix sockets") };
    let stream = UnixStream::connect(socket)?;
    let export = handshake(&stream, uri.export.as_bytes())?;
    assert_eq!(export.size, SIZE);
    Ok(NbdClient::new(stream, &export))
}

/// Writes at a place of the turn's own, flushes, and reads back all that was written there before.
fn use_client(client: &mut NbdClient<UnixStream>, turn: u8) -> Result<()> {
    let place = |turn: u8| SeekFrom::Start(u64::from(turn) * PLACE + 1);
    client.seek(place(turn))?;
    client.write_all(&[turn; 70_000])?;
    client.flush()?;
    for earlier in 1..=turn {
        client.seek(place(earlier))?;
        let mut back = vec![0; 70_000];
        client.read_exact(&mut back)?;
        assert!(back.iter().all(|byte| *byte == earlier), "what turn {earlier} wrote, in {turn}");
    }
    Ok(())
}

/// Where a client may connect in this phase.
fn doors(cluster: &Cluster, phase: Phase) -> Vec<NbdUri> {
    let mut doors = vec![cluster.uri(), cluster.source.uri(VOLUME)];
    if phase == Phase::After {
        doors.push(cluster.destination.uri(VOLUME));
    }
    doors
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nbd_crates_client_reads_what_it_wrote_at_every_door_in_every_phase() {
    let cluster = Cluster::random(SIZE / MIB).await;
    let mut turn = 0;
    let uri = cluster.uri();
    let joined = tokio::task::spawn_blocking(move || join(&uri)).await.expect("no panic");
    let mut stayed = joined.expect("the switch lets it join");
    for phase in Phase::ALL {
        cluster.enter(phase).await;
        let doors = doors(&cluster, phase);
        let used = tokio::task::spawn_blocking(move || {
            for door in &doors {
                turn += 1;
                use_client(&mut join(door)?, turn)?;
            }
            turn += 1;
            use_client(&mut stayed, turn)?;
            Ok::<_, std::io::Error>((turn, stayed))
        });
        let used = used.await.expect("no panic");
        (turn, stayed) = used.unwrap_or_else(|error| panic!("{phase:?}: {error}"));
    }
}

/// The crate's server on a unix socket: a thread for each connection, for as long as the test runs.
fn serve(socket: &Path, file: PathBuf) {
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let store = OpenOptions::new().read(true).write(true).open(&file).expect("a file");
            // The client's going is an error to it.
            std::thread::spawn(move || serve_one(&stream, store));
        }
    });
}

fn serve_one(stream: &UnixStream, store: File) -> Result<()> {
    let export = nbd::Export::<()> { size: SIZE, send_flush: true, ..Default::default() };
    nbd::server::handshake(stream, |_| Ok(export))?;
    nbd::server::transmission(stream, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_the_nbd_crates_server_stores_moves_away_under_load() {
    let spec = ClusterSpec::new();
    fill_random(&spec.file(), SIZE);
    let socket = spec.scratch.join("nbd-crate");
    serve(&socket, spec.file());
    let uri = NbdUri { address: Address::Unix(socket), export: String::new() }.to_string();
    let cluster = spec.source(|source| source.volume(VOLUME, uri)).start().await;
    let load = busy(&cluster.uri(), 100).await;
    let done = cluster.migrate(&["--hold-at-ready", "--chunk", "1M"]).await;
    assert_eq!(done.events("held").len(), 1, "{done:?}");
    moves_on(&load).await;
    cluster.enter(Phase::After).await;
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let link = connect(&cluster.destination.uri(VOLUME)).await;
    let violations = report.journal.verify(&link).await.expect("a volume that can be read");
    assert!(violations.is_empty(), "{violations:?}");
    assert!(compare(&cluster.file(), &cluster.copy()).is_err(), "nothing reached the new owner");
}
