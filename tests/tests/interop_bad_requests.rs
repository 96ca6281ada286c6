//! Requests that no sensible client sends are answered the same by either target and by the switch,
//! before, during and after a migration, and they change nothing.

use blockferry_block::MIB;
use blockferry_nbd_session::{ConnectOptions, NbdUri, connect};
use blockferry_tests::cast::{Cluster, Phase, RawClient, RawRequest, Replies, VOLUME};

const SIZE: u64 = 4 * MIB;

const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;

/// A flag that no command knows.
const NO_FLAG: u16 = 1 << 14;

const OK: u32 = 0;
const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;

/// Of a request: flags, command, offset and length.
type Fields = (u16, u16, u64, u32);

/// What it is, the request, and the error it is answered with.
/// Every one is answered, and the connection stays.
const BAD_REQUESTS: [(&str, Fields, u32); 20] = [
    ("a write of nothing", (0, WRITE, 0, 0), OK),
    ("a trim of nothing", (0, TRIM, 0, 0), OK),
    ("a read past the end", (0, READ, SIZE - 1, 2), EINVAL),
    ("a read behind the end", (0, READ, SIZE + 4096, 512), EINVAL),
    ("a write past the end", (0, WRITE, SIZE - 1, 512), ENOSPC),
    ("a write behind the end", (0, WRITE, SIZE + 4096, 512), ENOSPC),
    ("zeroes past the end", (0, WRITE_ZEROES, SIZE - 1, 2), ENOSPC),
    ("a trim past the end", (0, TRIM, SIZE - 1, 2), EINVAL),
    ("a read whose end no number holds", (0, READ, u64::MAX, 512), EINVAL),
    ("a write whose end no number holds", (0, WRITE, u64::MAX, 512), EINVAL),
    ("zeroes whose end no number holds", (0, WRITE_ZEROES, u64::MAX - 1, 4096), EINVAL),
    ("a trim whose end no number holds", (0, TRIM, u64::MAX - 1, 4096), EINVAL),
    ("an unknown command", (0, 0x4242, 0, 0), EINVAL),
    ("an unknown flag of a read", (NO_FLAG, READ, 0, 512), EINVAL),
    ("an unknown flag of a write", (NO_FLAG, WRITE, 0, 512), EINVAL),
    ("an unknown flag of a flush", (NO_FLAG, FLUSH, 0, 0), EINVAL),
    ("a flush with a length", (0, FLUSH, 0, 512), EINVAL),
    ("a read of 4 GiB", (0, READ, 0, u32::MAX), EINVAL),
    ("a write of zeroes of 4 GiB", (0, WRITE_ZEROES, 0, u32::MAX), ENOSPC),
    ("a sensible read, to see that all is in step", (0, READ, 0, 512), OK),
];

/// A payload that no server may wait for, or make room for.
const HUGE: RawRequest =
    RawRequest { flags: 0, command: WRITE, offset: 0, length: 128 << 20, payload: Vec::new() };

fn request((flags, command, offset, length): Fields) -> RawRequest {
    let payload = if command == WRITE { vec![0x5a; length as usize] } else { Vec::new() };
    RawRequest { flags, command, offset, length, payload }
}

async fn assert_table(client: &mut RawClient, whom: &str) {
    for (what, fields, expected) in BAD_REQUESTS {
        let answer = client.ask(&request(fields)).await;
        assert_eq!(answer, Some(expected), "{what}, {whom}");
    }
}

/// An error, and then no more connection.
async fn assert_huge_write_ends_it(client: &mut RawClient, whom: &str) {
    let answer = client.ask(&HUGE).await;
    assert_eq!(answer, Some(EINVAL), "{whom}");
    client.until_hung_up().await;
}

/// Where a client may connect in this phase. A destination that is no owner yet turns clients away.
fn doors(cluster: &Cluster, phase: Phase) -> Vec<(&'static str, NbdUri)> {
    let mut doors =
        vec![("by the switch", cluster.uri()), ("by the source", cluster.source.uri(VOLUME))];
    if phase == Phase::After {
        doors.push(("by the destination", cluster.destination.uri(VOLUME)));
    }
    doors
}

async fn bad_requests_get_the_same_answers_everywhere(replies: Replies) {
    let cluster = Cluster::random(SIZE / MIB).await;
    let content = std::fs::read(cluster.file()).expect("a file");
    let mut stayed = RawClient::join(&cluster.uri(), replies).await;
    for phase in Phase::ALL {
        cluster.enter(phase).await;
        assert_table(&mut stayed, &format!("{phase:?}, from a client that stayed")).await;
        for (door, uri) in doors(&cluster, phase) {
            let whom = format!("{phase:?}, {door}");
            let mut client = RawClient::join(&uri, replies).await;
            assert_table(&mut client, &whom).await;
            assert_huge_write_ends_it(&mut client, &whom).await;
        }
    }
    assert_huge_write_ends_it(&mut stayed, "the client that stayed").await;
    assert!(std::fs::read(cluster.copy()).expect("a file") == content, "the volume has changed");
    cluster.assert_equal();
}

/// A client is turned away there, so only the copier can send anything at all.
async fn the_copier_gets_the_same_answers(replies: Replies) {
    let cluster = Cluster::random(SIZE / MIB).await;
    let uris = cluster.migrate(&["--copier", "external"]).await.last();
    let uri: NbdUri = uris["destination"].as_str().expect("a URI").parse().expect("a URI");
    let mut client = RawClient::join(&uri, replies).await;
    assert_table(&mut client, "from the copier").await;
    assert_huge_write_ends_it(&mut client, "from the copier").await;
    let status = cluster.destination.status(VOLUME).await.expect("an answer");
    assert_eq!(status.reserved_address, 0, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_no_owner_yet_turns_clients_away_and_says_why() {
    let cluster = Cluster::random(SIZE / MIB).await;
    cluster.enter(Phase::During).await;
    let uri = cluster.destination.uri(VOLUME);
    let options = ConnectOptions::new(uri.address, uri.export);
    let refusal = connect(&options).await.expect_err("it is no owner").to_string();
    assert!(refusal.contains("not the owner of vol yet: it is being received"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_of_the_copier_get_the_same_simple_replies() {
    the_copier_gets_the_same_answers(Replies::Simple).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_of_the_copier_get_the_same_structured_replies() {
    the_copier_gets_the_same_answers(Replies::Structured).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_the_same_simple_replies_everywhere_and_always() {
    bad_requests_get_the_same_answers_everywhere(Replies::Simple).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_the_same_structured_replies_everywhere_and_always() {
    bad_requests_get_the_same_answers_everywhere(Replies::Structured).await;
}
