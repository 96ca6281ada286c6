//! Whole commands against a source, a destination and a switch in memory. What the copy itself
//! promises is tested beside it; here it is the order of the steps and what interrupts them.

use std::time::Duration;

use blockferry_block::MIB;
use blockferry_control::api::{SlowDestination, VolumeRole};
use blockferry_device::{Errno, Failure};

use super::*;
use crate::copy::{EndError, LEAF, Manner};
use crate::outcome::one_line;
use crate::show::{Event, Phase};
use crate::testing::audience::Audience;
use crate::testing::world::{CommitFault, Trouble, World};

/// Long enough for any of these tests on a busy machine; a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// 4 MiB of data with a hole of 2 MiB in the middle.
fn content() -> Vec<u8> {
    let mut content: Vec<u8> = (1..=251).cycle().take(4 << 20).collect();
    content[1 << 20..3 << 20].fill(0);
    content
}

/// A world, who watches it, and where the certificates go.
struct Stage {
    world: World,
    parties: Parties,
    audience: Audience,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let world = World::with(content()).await;
        let (parties, audience) = (world.parties(), Audience::default());
        Self { world, parties, audience, folder: tempfile::tempdir().unwrap() }
    }

    fn desk(&self) -> Desk<'_, World> {
        Desk {
            parties: &self.parties,
            network: &self.world,
            show: &self.audience,
            began: Instant::now(),
        }
    }

    fn order(&self) -> MigrateOrder {
        MigrateOrder {
            driving: Driving {
                manner: Manner { chunk: LEAF, window: 1, chunks_ahead: 2 },
                bandwidth: None,
                verify: false,
                hold: false,
                certificate: Some(self.folder.path().join("certificate.json")),
            },
            slow_destination: SlowDestination::Pause,
            dry_run: false,
            external: false,
        }
    }

    async fn migrate(&self, order: &MigrateOrder) -> anyhow::Result<()> {
        let desk = self.desk();
        let run = migrate::migrate(&desk, order);
        tokio::time::timeout(PATIENCE, run).await.expect("it hangs")
    }

    async fn resume(&self) -> anyhow::Result<()> {
        let driving = self.order().driving;
        let desk = self.desk();
        let run = resume::resume(&desk, &driving);
        tokio::time::timeout(PATIENCE, run).await.expect("it hangs")
    }

    /// Begins a migration and drops the controller once a write at `address` hangs.
    async fn interrupt_at(&self, address: u64) {
        self.world.state().troubles.push((address, Trouble::WriteHangs));
        let (order, desk) = (self.order(), self.desk());
        let run = migrate::migrate(&desk, &order);
        let hangs = async {
            while !self.world.state().troubles.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            ended = run => panic!("it ended: {ended:?}"),
            () = hangs => {}
        }
    }

    fn calls(&self) -> Vec<String> {
        self.world.state().calls.clone()
    }

    fn assert_moved(&self) {
        assert!(self.world.destination.store().content == content(), "the content differs");
        let state = self.world.state();
        assert_eq!(state.destination_role, Some(VolumeRole::Owner));
        assert_eq!(state.route.as_ref().map(|route| route.generation), Some(2));
    }
}

#[tokio::test]
async fn a_migration_takes_every_step_once_and_in_order() {
    let stage = Stage::new().await;
    stage.migrate(&stage.order()).await.unwrap();
    stage.assert_moved();
    let expected = [
        "destination dry-run",
        "destination receive",
        "source send",
        "switch announce",
        "source settle",
        "switch prepare",
        "destination ready",
        "source commit",
        "destination own",
        "switch arrangement",
    ];
    assert_eq!(stage.calls(), expected);
    assert_eq!(
        stage.audience.phases(),
        [
            Phase::Preflight,
            Phase::Begin,
            Phase::Announce,
            Phase::Copy,
            Phase::Settle,
            Phase::Commit,
            Phase::Own,
            Phase::Move
        ]
    );
}

#[tokio::test]
async fn the_report_has_every_field_of_the_contract_and_so_has_the_certificate() {
    let stage = Stage::new().await;
    stage.migrate(&stage.order()).await.unwrap();
    let done = serde_json::to_value(Event::Done(Box::new(stage.audience.report()))).unwrap();
    for (field, value) in [
        ("event", serde_json::json!("done")),
        ("volume", serde_json::json!("vol")),
        ("size", serde_json::json!(4 * MIB)),
        ("passes", serde_json::json!(1)),
        ("flush_seconds", serde_json::json!(0.25)),
        ("longest_request_ms", serde_json::json!(2.5)),
        ("digest_algorithm", serde_json::json!("test")),
        ("digest", serde_json::json!("d1")),
        ("digest_match", serde_json::json!(true)),
        ("generation", serde_json::json!(2)),
    ] {
        assert_eq!(done[field], value, "{field}");
    }
    for field in [
        "copied_bytes",
        "zero_bytes",
        "mirrored_bytes",
        "resynced_bytes",
        "seconds",
        "cutover_start",
        "cutover_end",
        "cutover_ms",
    ] {
        assert!(done[field].is_number(), "{field}: {}", done[field]);
    }
    assert!(done["cutover_end"].as_f64() >= done["cutover_start"].as_f64());
    let text = std::fs::read_to_string(stage.folder.path().join("certificate.json")).unwrap();
    let certificate: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(certificate["digest"], "d1");
    assert_eq!(certificate["migration"], done["migration"]);
    assert!(certificate["issued"].as_str().is_some_and(|time| time.ends_with('Z')));
}

#[tokio::test]
async fn preflight_names_every_problem_at_once_and_touches_nothing() {
    let stage = Stage::new().await;
    {
        let mut state = stage.world.state();
        state.receive_problems = vec!["no room".to_owned(), "no TRIM".to_owned()];
        state.route = None;
        state.destination_boot = state.source_boot;
    }
    let error = one_line(&stage.migrate(&stage.order()).await.unwrap_err());
    for word in
        ["no room", "no TRIM", "no route vol", "same running program", "nothing was touched"]
    {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
    assert_eq!(stage.calls(), ["destination dry-run"]);
}

#[tokio::test]
async fn a_dry_run_prints_the_plan_and_changes_nothing() {
    let stage = Stage::new().await;
    stage.migrate(&MigrateOrder { dry_run: true, ..stage.order() }).await.unwrap();
    assert_eq!(stage.calls(), ["destination dry-run"]);
    let Some(Event::Plan { steps, size, .. }) = stage.audience.events().pop() else {
        panic!("no plan")
    };
    assert_eq!(size, 4 * MIB);
    assert!(steps.iter().any(|step| step.contains("2 client connections")), "{steps:?}");
}

#[tokio::test]
async fn run_again_after_completion_it_says_so_and_changes_nothing() {
    let stage = Stage::new().await;
    stage.migrate(&stage.order()).await.unwrap();
    let calls = stage.calls();
    for again in [stage.migrate(&stage.order()).await, stage.resume().await] {
        again.unwrap();
        let report = stage.audience.report();
        assert!(report.already_complete);
        assert_eq!((report.generation, report.size), (2, 4 * MIB));
    }
    assert_eq!(stage.calls(), calls);
}

#[tokio::test]
async fn run_again_after_an_interruption_it_goes_on_from_the_reserved_address() {
    let stage = Stage::new().await;
    stage.interrupt_at(512 << 10).await;
    let reserved = stage.world.reserved();
    assert!(reserved > 0 && reserved < 4 * MIB);
    let writes = stage.world.destination.store().writes.len();
    stage.migrate(&stage.order()).await.unwrap();
    stage.assert_moved();
    let next = stage.world.destination.store().writes[writes].0;
    assert_eq!(next, reserved, "not from zero");
    assert!(stage.calls().contains(&"source term".to_owned()), "older controllers are fenced");
    let receives = stage.calls().iter().filter(|call| *call == "destination receive").count();
    assert_eq!(receives, 1);
}

#[tokio::test]
async fn a_restarted_destination_costs_what_was_not_durable_and_no_more() {
    let stage = Stage::new().await;
    stage.world.state().durable = 256 << 10;
    stage.world.state().troubles.push((MIB - 1, Trouble::DestinationRestarts));
    stage.migrate(&stage.order()).await.unwrap();
    stage.assert_moved();
    let writes = stage.world.destination.store().writes.clone();
    let falls = writes.windows(2).filter(|pair| pair[1].0 <= pair[0].0).map(|pair| pair[1].0);
    assert_eq!(falls.collect::<Vec<_>>(), [256 << 10], "where the copy went on");
    assert_eq!(stage.audience.report().carried.passes, Some(2));
}

#[tokio::test]
async fn broken_connections_are_opened_again_under_a_new_term() {
    let stage = Stage::new().await;
    stage.world.state().troubles.push((MIB - 1, Trouble::ConnectionsBreak));
    stage.migrate(&stage.order()).await.unwrap();
    stage.assert_moved();
    assert!(stage.calls().contains(&"source term".to_owned()));
}

#[tokio::test]
async fn a_controller_whose_migration_was_taken_over_stops() {
    let stage = Stage::new().await;
    stage.world.state().troubles.push((MIB - 1, Trouble::TakenOver));
    let error = one_line(&stage.migrate(&stage.order()).await.unwrap_err());
    assert!(error.contains("another controller"), "{error}");
    assert!(!stage.calls().contains(&"source term".to_owned()), "it must not fight back");
}

#[tokio::test]
async fn an_unreadable_source_pauses_the_migration_and_names_the_address() {
    let stage = Stage::new().await;
    let fault = || EndError::Refused(Failure::new(Errno::Io, "unreadable sector"));
    stage.world.source.store().faults.extend(std::iter::repeat_with(fault).take(100));
    let error = one_line(&stage.migrate(&stage.order()).await.unwrap_err());
    assert!(error.contains("[0, 65536)") && error.contains("paused"), "{error}");
    assert!(stage.calls().contains(&"source pause".to_owned()));
    assert_eq!(stage.world.reserved(), 0, "what was not read is never written");

    stage.world.source.store().faults.clear();
    stage.resume().await.unwrap();
    stage.assert_moved();
}

#[tokio::test]
async fn a_full_destination_pauses_the_migration() {
    let stage = Stage::new().await;
    let fault = || EndError::Refused(Failure::new(Errno::NoSpc, "no space left"));
    stage.world.destination.store().faults.extend(std::iter::repeat_with(fault).take(100));
    let error = one_line(&stage.migrate(&stage.order()).await.unwrap_err());
    assert!(error.contains("no space left") && error.contains("paused"), "{error}");
}

#[tokio::test]
async fn a_hold_stops_before_ready_and_commit_goes_on() {
    let stage = Stage::new().await;
    let mut order = stage.order();
    order.driving.hold = true;
    stage.migrate(&order).await.unwrap();
    assert!(matches!(stage.audience.events().pop(), Some(Event::Held { .. })));
    assert_eq!(stage.world.state().destination_role, Some(VolumeRole::Receiving));

    let driving = stage.order().driving;
    commit::commit(&stage.desk(), &driving).await.unwrap();
    stage.assert_moved();
}

#[tokio::test]
async fn commit_refuses_a_copy_that_is_not_complete() {
    let stage = Stage::new().await;
    stage.interrupt_at(MIB - 1).await;
    let driving = stage.order().driving;
    let error = one_line(&commit::commit(&stage.desk(), &driving).await.unwrap_err());
    assert!(error.contains("resume"), "{error}");
    assert_eq!(stage.world.state().source_role, VolumeRole::Migrating);
}

#[tokio::test]
async fn a_switch_that_could_not_move_stops_the_commit() {
    let stage = Stage::new().await;
    stage.world.state().prepare_problems = vec!["no TLS".to_owned()];
    let error = one_line(&stage.migrate(&stage.order()).await.unwrap_err());
    assert!(error.contains("no TLS") && error.contains("nothing has moved"), "{error}");
    assert!(!stage.calls().contains(&"destination ready".to_owned()));
    assert_eq!(stage.world.state().source_role, VolumeRole::Migrating);
}

#[tokio::test]
async fn a_refused_commit_settles_again_with_a_new_attempt() {
    let stage = Stage::new().await;
    stage.world.state().commit_faults.push_back(CommitFault::Refused);
    stage.migrate(&stage.order()).await.unwrap();
    stage.assert_moved();
    assert_eq!(stage.calls().iter().filter(|call| *call == "source settle").count(), 2);
}

#[tokio::test]
async fn a_commit_that_is_always_refused_ends_with_the_source_as_owner() {
    let stage = Stage::new().await;
    stage.world.state().commit_faults.extend([CommitFault::Refused; 50]);
    let error = one_line(&stage.migrate(&stage.order()).await.unwrap_err());
    assert!(error.contains("dirty again") && error.contains("resume"), "{error}");
    assert_eq!(stage.world.state().source_role, VolumeRole::Migrating);
}

#[tokio::test]
async fn a_lost_answer_to_commit_is_asked_for_and_never_guessed() {
    for (fault, commits) in
        [(CommitFault::CommittedWithoutAnswer, 1), (CommitFault::LostBeforeCommit, 2)]
    {
        let stage = Stage::new().await;
        stage.world.state().commit_faults.push_back(fault);
        stage.migrate(&stage.order()).await.unwrap();
        stage.assert_moved();
        let calls = stage.calls();
        assert_eq!(calls.iter().filter(|call| *call == "source commit").count(), commits);
        assert!(!calls.iter().any(|call| call.contains("abort")), "{calls:?}");
    }
}

#[tokio::test]
async fn resume_finishes_a_commit_of_which_the_destination_does_not_know() {
    let stage = Stage::new().await;
    let mut order = stage.order();
    order.driving.hold = true;
    stage.migrate(&order).await.unwrap();
    {
        let mut state = stage.world.state();
        state.source_role = VolumeRole::Forwarding;
        state.destination_role = Some(VolumeRole::Ready);
    }
    stage.resume().await.unwrap();
    stage.assert_moved();
}

#[tokio::test]
async fn resume_moves_the_paths_when_only_they_are_left() {
    let stage = Stage::new().await;
    stage.migrate(&stage.order()).await.unwrap();
    if let Some(route) = &mut stage.world.state().route {
        route.generation = 1;
    }
    stage.resume().await.unwrap();
    stage.assert_moved();
    assert_eq!(stage.calls().last().unwrap(), "switch arrangement");
}

#[tokio::test]
async fn abort_tells_the_source_first_and_then_the_destination() {
    let stage = Stage::new().await;
    stage.interrupt_at(MIB - 1).await;
    abort::abort(&stage.desk()).await.unwrap();
    let calls = stage.calls();
    assert_eq!(calls[calls.len() - 3..], ["source term", "source abort", "destination abort"]);
    let state = stage.world.state();
    assert_eq!((state.source_role, state.destination_role), (VolumeRole::Owner, None));
}

#[tokio::test]
async fn abort_after_the_commit_is_refused() {
    let stage = Stage::new().await;
    stage.migrate(&stage.order()).await.unwrap();
    let error = one_line(&abort::abort(&stage.desk()).await.unwrap_err());
    assert!(error.contains("commit has happened"), "{error}");
    assert!(!stage.calls().iter().any(|call| call.contains("abort")));
}

#[tokio::test]
async fn half_an_abort_and_half_a_beginning_are_cleaned_up() {
    let stage = Stage::new().await;
    {
        let mut state = stage.world.state();
        state.destination_role = Some(VolumeRole::Receiving);
        state.receiving = Some("00".repeat(16));
    }
    stage.migrate(&stage.order()).await.unwrap();
    stage.assert_moved();
    assert_eq!(stage.calls()[0], "destination abort");
}

#[tokio::test]
async fn a_paused_copy_waits_and_resume_goes_on() {
    let stage = Stage::new().await;
    stage.interrupt_at(MIB - 1).await;
    pause::pause(&stage.desk()).await.unwrap();
    assert!(stage.world.state().migration.as_ref().is_some_and(|sending| sending.paused));
    stage.resume().await.unwrap();
    stage.assert_moved();
}

#[tokio::test]
async fn verification_repeats_until_a_pass_finds_nothing() {
    let stage = Stage::new().await;
    stage.world.state().mismatches.push_back(4096);
    let mut order = stage.order();
    order.driving.verify = true;
    stage.migrate(&order).await.unwrap();
    stage.assert_moved();
    assert!(stage.audience.heard("4.00 KiB differed"));
    let verified = stage.audience.report().verified.unwrap();
    assert_eq!((verified.bytes, verified.passes), (4 * MIB, Some(2)));
}

#[tokio::test]
async fn a_volume_that_keeps_differing_is_not_committed() {
    let stage = Stage::new().await;
    stage.world.state().mismatches.extend([4096; 10]);
    let mut order = stage.order();
    order.driving.verify = true;
    let error = one_line(&stage.migrate(&order).await.unwrap_err());
    assert!(error.contains("still differs"), "{error}");
    assert_eq!(stage.world.state().source_role, VolumeRole::Migrating);
}

#[tokio::test]
async fn an_external_copier_gets_both_uris_and_resume_finishes() {
    let stage = Stage::new().await;
    stage.migrate(&MigrateOrder { external: true, ..stage.order() }).await.unwrap();
    let Some(Event::Copier { source, destination, .. }) = stage.audience.events().pop() else {
        panic!("no URIs")
    };
    let token = stage.world.state().migration.as_ref().unwrap().token.clone();
    assert_eq!(source, format!("nbd://127.0.0.1:1/vol@copy.{token}"));
    assert_eq!(destination, format!("nbd://127.0.0.1:2/vol@copy.{token}"));
    stage.resume().await.unwrap();
    stage.assert_moved();
}

#[tokio::test]
async fn retire_says_when_nobody_comes_through_the_source() {
    let stage = Stage::new().await;
    let error = one_line(&retire::retire(&stage.desk(), 0).await.unwrap_err());
    assert!(error.contains("2 client paths"), "{error}");
    stage.migrate(&stage.order()).await.unwrap();
    retire::retire(&stage.desk(), 0).await.unwrap();
    assert!(stage.audience.heard("retired"));
}
