//! Who may do what: addresses that others reach, tokens, roles.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use blockferry_block::{BootId, ClaimEpoch, Generation, MIB, MigrationId, SessionId, Token};
use blockferry_control::api::VolumeRole;
use blockferry_nbd_session::{ConnectOptions, Role, RoleClaim};
use blockferry_tests::cast::{
    Cluster, ClusterSpec, Process, Scratch, Storage, StorageSpec, VOLUME, connect, write,
};

const EVERYWHERE: &str = "0.0.0.0:0";

#[tokio::test(flavor = "multi_thread")]
async fn a_control_address_that_others_reach_is_refused_without_a_token_file() {
    let scratch = Scratch::new();
    for program in ["target-src", "target-dst"] {
        let mut spec = StorageSpec::new(program, &scratch.join(program));
        spec.control = EVERYWHERE.to_owned();
        spec.more = vec!["--log".to_owned(), "error".to_owned()];
        let mut process = Process::start(program, &mut spec.command_without_log());
        let status = process.end_within(Duration::from_secs(30)).await;
        assert_eq!(status.code(), Some(1), "{:?}", process.log());
        let [line] = &process.log()[..] else { panic!("one line: {:?}", process.log()) };
        assert!(line.contains("0.0.0.0") && line.contains("--token-file"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_file_it_serves_and_answers_only_those_who_have_the_token() {
    let scratch = Scratch::new();
    let file = scratch.join("token");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let mut spec = StorageSpec::new("target-src", &scratch.join("a")).on_tcp();
    spec.control = EVERYWHERE.to_owned();
    let spec = spec.with("--token-file").with(file.display().to_string());
    let program = Storage::start(spec.with("--advertise=127.0.0.1")).await;
    let port = program.spec.control.rsplit(':').next().expect("a port").to_owned();
    let at = format!("http://127.0.0.1:{port}").parse().expect("an address");
    let stranger = blockferry_control::ControlClient::new(at, None);
    let refusal = stranger.get::<serde_json::Value>("/v1/volumes").await.expect_err("no token");
    assert_eq!(refusal.status().map(u16::from), Some(401), "{refusal}");
    let token = blockferry_control::BearerToken::read(&file).expect("a token");
    let friend = blockferry_control::ControlClient::new(stranger.address().clone(), Some(&token));
    let volumes: serde_json::Value = friend.get("/v1/volumes").await.expect("an answer");
    assert_eq!(volumes, serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_address_that_others_reach_is_served_with_a_warning() {
    let scratch = Scratch::new();
    let mut spec = StorageSpec::new("target-dst", &scratch.join("a"));
    spec.nbd = EVERYWHERE.to_owned();
    let mut program = Storage::start(spec).await;
    let line = program.process.logged("without TLS").await;
    assert!(line.contains("WARN") && line.contains("0.0.0.0"), "{line}");
    let quiet = Storage::start(StorageSpec::new("target-dst", &scratch.join("b")).on_tcp()).await;
    assert!(!quiet.process.log().iter().any(|line| line.contains("TLS")));
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_and_what_the_programs_create_are_their_owners_alone() {
    let cluster = Cluster::random(1).await;
    cluster.migrate(&[]).await;
    let folder = cluster.scratch.path();
    let sockets = ["a/nbd", "a/control", "b/nbd", "b/control", "switch-nbd", "switch-control"];
    for path in sockets.map(|socket| folder.join(socket)).into_iter().chain([cluster.copy()]) {
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", path.display());
    }
}

/// What a stranger may try who knows everything but the token.
fn claim(role: Role, migration: &str, token: [u8; Token::LENGTH], epoch: u64) -> RoleClaim {
    RoleClaim {
        role,
        standby: false,
        migration: migration.parse().expect("a migration's identity"),
        token: Token::from_bytes(token),
        session: SessionId::from_bytes([9; SessionId::LENGTH]),
        generation: Generation(1 << 40),
        source_boot: BootId(0),
        destination_boot: BootId(0),
        claim_epoch: ClaimEpoch(epoch),
        arrangement: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_mirror_and_forward_roles_need_the_token_of_the_migration() {
    let cluster = Cluster::random(4).await;
    cluster.migrate(&["--hold-at-ready"]).await;
    let status = cluster.destination.status(VOLUME).await.expect("an answer");
    let migration = status.migration.expect("a migration");
    let another = MigrationId::from_bytes([7; MigrationId::LENGTH]).to_string();
    for at in [&cluster.source, &cluster.destination] {
        for role in [Role::Copy, Role::Mirror, Role::Forward] {
            for id in [&migration.id, &another] {
                let role = claim(role, id, [1; Token::LENGTH], migration.epoch);
                let options = ConnectOptions {
                    role: Some(role.clone()),
                    ..ConnectOptions::new(at.address(), VOLUME)
                };
                let opened = blockferry_nbd_session::connect(&options).await;
                assert!(opened.is_err(), "{role:?} was let in");
            }
        }
        let name = format!("{VOLUME}@copy.{}", Token::from_bytes([1; Token::LENGTH]));
        let options = ConnectOptions::new(at.address(), name);
        assert!(blockferry_nbd_session::connect(&options).await.is_err(), "by name");
    }
    let client = ConnectOptions::new(cluster.destination.address(), VOLUME);
    let refusal = blockferry_nbd_session::connect(&client).await.expect_err("not the owner yet");
    assert!(refusal.to_string().contains("not the owner"), "{refusal}");
    let after = cluster.destination.status(VOLUME).await.expect("an answer");
    assert_eq!((after.role, after.reserved_address), (VolumeRole::Receiving, 4 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_volume_that_another_made_is_never_touched() {
    let spec = ClusterSpec::new();
    let theirs = spec.scratch.join("theirs");
    blockferry_tests::cast::fill_random(&theirs, MIB);
    let content = std::fs::read(&theirs).expect("a file");
    let spec = spec.destination(|destination| destination.volume(VOLUME, &theirs));
    let cluster = spec.random(1).await;
    let refused = cluster.controller("migrate", &[]).end().await;
    assert_eq!((refused.code, refused.err.len()), (Some(1), 1), "{refused:?}");
    assert!(refused.err[0].contains("exists"), "{refused:?}");
    assert!(std::fs::read(&theirs).expect("a file") == content);
    let client = connect(&cluster.uri()).await;
    write(&client, 0, vec![1; 512]).await.expect("the source is the owner as before");
    assert_eq!(cluster.source.status(VOLUME).await.expect("an answer").role, VolumeRole::Owner);
}
