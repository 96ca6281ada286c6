//! D2: the ordered, address-checked copy and the switch; and the copy carried by other people's
//! tools.

use std::process::Command as Program;

use blockferry_block::{Extent, MIB};
use blockferry_control::api::VolumeRole;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, Command, Outcome, Passing, RECORDED_HOST, Recorder, VOLUME, busy,
    connect, moves_on, nbdsh, read, run_tool, write,
};

const CHUNK: u64 = MIB;
const SIZE: u64 = 8 * MIB + 512;

#[tokio::test(flavor = "multi_thread")]
async fn d2_1_the_destination_creates_a_volume_of_exactly_the_sources_size() {
    let spec = ClusterSpec::new();
    blockferry_tests::cast::fill_random(&spec.file(), MIB + 1);
    let cluster = spec.with_file().await;
    cluster.migrate(&["--hold-at-ready"]).await;
    let size = std::fs::metadata(cluster.copy()).expect("a file").len();
    let status = cluster.destination.status(VOLUME).await.expect("an answer");
    assert_eq!((size, status.size), (MIB + 1, MIB + 1));
    assert_eq!(status.role, VolumeRole::Receiving);
}

/// Migrates an idle volume without holes; gives what passed on the copy connections at the source
/// and at the destination.
async fn recorded() -> (Vec<Passing>, Vec<Passing>) {
    let spec = ClusterSpec::new().on_tcp();
    blockferry_tests::cast::fill_random(&spec.file(), SIZE);
    let advertise = format!("--advertise={RECORDED_HOST}");
    let spec = spec.source(|source| source.with(&advertise));
    let cluster = spec.destination(|destination| destination.with(&advertise)).with_file().await;
    let (source, destination) = (&cluster.source.spec, &cluster.destination.spec);
    let at_source = Recorder::start([&source.nbd, &source.control]).await;
    let at_destination = Recorder::start([&destination.nbd, &destination.control]).await;
    let at_recorder =
        |control: &str| format!("http://{}", control.replace("127.0.0.1", RECORDED_HOST));
    let (from, to) = (at_recorder(&source.control), at_recorder(&destination.control));
    let arguments = ["migrate", VOLUME, "--from", &from, "--to", &to, "--chunk", "1M", "--json"];
    let arguments = arguments.map(str::to_owned);
    blockferry_tests::cast::Controller::start(cluster.scratch.path(), &arguments).done().await;
    cluster.assert_equal();
    let only = |connections: Vec<Vec<Passing>>| {
        let [connection] = &connections[..] else { panic!("one copy connection: {connections:?}") };
        assert!(!connection.contains(&Passing::Unknown), "{connection:?}");
        connection.clone()
    };
    let is = |passing: &Passing, wanted| matches!(passing, Passing::Request { command, .. } if *command == wanted);
    (
        only(at_source.connections(|passing| is(passing, Command::Read))),
        only(at_destination.connections(|passing| is(passing, Command::Write))),
    )
}

fn extents(passing: &[Passing], wanted: Command) -> Vec<Extent> {
    let extent = |passing: &Passing| match *passing {
        Passing::Request { command, offset, length, .. } if command == wanted => {
            Some(Extent::between(offset, offset + length))
        }
        _ => None,
    };
    passing.iter().filter_map(extent).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_2_the_copy_reads_a_set_length_after_the_other_from_top_to_bottom() {
    let (source, destination) = recorded().await;
    let expected: Vec<_> = Extent::whole(SIZE).pieces(CHUNK).collect();
    assert_eq!(extents(&source, Command::Read), expected);
    let mut total = 0;
    for write in extents(&destination, Command::Write) {
        assert_eq!(write.start(), total, "the address is the total length read so far");
        total += write.len();
    }
    assert_eq!(total, SIZE);
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_3_the_destination_is_sent_the_data_together_with_its_address() {
    let (_, destination) = recorded().await;
    let expected: Vec<_> = Extent::whole(SIZE).pieces(CHUNK).collect();
    assert_eq!(extents(&destination, Command::Write), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_4_the_next_write_is_sent_only_after_the_completion_of_the_one_before() {
    let (_, destination) = recorded().await;
    let (mut outstanding, mut writes) = (None, 0);
    for passing in destination {
        match passing {
            Passing::Request { command: Command::Write, cookie, offset, .. } => {
                assert_eq!(outstanding, None, "the write at {offset} overtakes an answer");
                outstanding = Some(cookie);
                writes += 1;
            }
            Passing::Answer { cookie } if outstanding == Some(cookie) => outstanding = None,
            _ => {}
        }
    }
    assert_eq!(writes, 9, "eight chunks and the rest");
}

/// Begins a migration whose data another tool carries; gives the URIs for it.
async fn external(cluster: &Cluster) -> (String, String) {
    let outcome: Outcome = cluster.migrate(&["--copier", "external"]).await;
    let uris = outcome.last();
    assert_eq!(uris["event"], "copier", "{uris}");
    let uri = |side: &str| uris[side].as_str().expect("a URI").to_owned();
    (uri("source"), uri("destination"))
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_5_a_write_at_any_other_address_is_refused_and_told_the_expected_one() {
    let cluster = Cluster::random(4).await;
    let (_, destination) = external(&cluster).await;
    let script = format!(
        r#"
import errno
h.connect_uri('{destination}')
h.pwrite(b'a' * 1048576, 0)
def refused(request):
    try:
        request()
    except nbd.Error as error:
        assert error.errno == 'EINVAL', error.errno
    else:
        raise AssertionError('not refused')
for address in [0, 4096, 1048575, 1048577, 2097152]:
    refused(lambda: h.pwrite(b'b' * 4096, address))
    refused(lambda: h.zero(4096, address))
refused(lambda: h.trim(4096, 0))
print('refused')
"#
    );
    let said = nbdsh(&script).await;
    assert_eq!(said.out, "refused");
    let told = said.err.matches("expected address 1048576").count();
    assert!(told >= 10, "told {told} times:\n{}", said.err);
    let status = cluster.destination.status(VOLUME).await.expect("an answer");
    assert_eq!(status.reserved_address, MIB);
    let content = std::fs::read(cluster.copy()).expect("a file");
    let mut expected = vec![b'a'; MIB as usize];
    expected.resize(4 * MIB as usize, 0);
    assert!(content == expected, "a refused write changed the volume");
    nbdsh(&format!("h.connect_uri('{destination}')\nh.pwrite(b'c' * 512, 1048576)")).await;
    let status = cluster.destination.status(VOLUME).await.expect("an answer");
    assert_eq!(status.reserved_address, MIB + 512, "at the expected address it is executed");
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_6_the_controller_has_the_switch_connect_the_client_to_the_destination() {
    let mut cluster = Cluster::random(4).await;
    let client = connect(&cluster.uri()).await;
    let before = cluster.switch.route(VOLUME).await.expect("an answer");
    assert_eq!(before.upstream, cluster.source.uri(VOLUME).to_string());
    let done = cluster.migrate(&[]).await.last();
    assert_eq!(done["moved_connections"], 1, "{done}");
    let after = cluster.switch.route(VOLUME).await.expect("an answer");
    assert_eq!(after.upstream, cluster.destination.uri(VOLUME).to_string());
    assert_eq!((after.generation, after.sessions), (2, 1));
    cluster.source.kill9();
    write(&client, 0, vec![1; 512]).await.expect("the same connection of the client");
    let there = connect(&cluster.destination.uri(VOLUME)).await;
    assert_eq!(read(&there, Extent::between(0, 512)).await.expect("a read"), vec![1; 512]);
}

/// nbdcopy from one URI to the other, in ascending order.
async fn nbdcopy(source: &str, destination: &str) {
    let mut command = Program::new("nbdcopy");
    let copied = run_tool(command.args(["--synchronous", source, destination])).await;
    assert!(copied.success, "{copied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tool_carries_the_sweep_and_resume_finishes() {
    let cluster = Cluster::random(16).await;
    let (source, destination) = external(&cluster).await;
    nbdcopy(&source, &destination).await;
    let done = cluster.controller("resume", &[]).done().await.last();
    assert_eq!(done["passes"], 1, "{done}");
    assert_ne!(done["digest_match"], false, "{done}");
    cluster.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tool_carries_the_sweep_while_a_client_writes() {
    let spec = ClusterSpec::new();
    let pieces = (0..16).map(|piece| (piece * 3 * MIB, MIB as usize));
    blockferry_tests::cast::sparse(&spec.file(), 48 * MIB + 100, pieces);
    let cluster = spec.with_file().await;
    let load = busy(&cluster.uri(), 300).await;
    let (source, destination) = external(&cluster).await;
    nbdcopy(&source, &destination).await;
    moves_on(&load).await;
    let done = cluster.controller("resume", &[]).done().await.last();
    assert_eq!(done["passes"], 1, "{done}");
    cluster.until_moved().await;
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let link = connect(&cluster.destination.uri(VOLUME)).await;
    let violations = report.journal.verify(&link).await.expect("a volume that can be read");
    assert!(violations.is_empty(), "{violations:?}");
}
