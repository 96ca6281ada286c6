//! The steps of each command, and what it shows.

use std::time::Duration;

use super::*;

/// Nothing takes longer.
const SOON: Duration = Duration::from_secs(20);

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

/// The phases of a migration with a comparison, which has to end.
async fn verified(stage: &Stage) -> Vec<Phase> {
    let mut order = stage.order();
    order.driving.verify = true;
    let migrated = tokio::time::timeout(SOON, stage.migrate(&order)).await;
    migrated.expect("it waits without end").unwrap();
    stage.assert_moved();
    stage.audience.phases()
}

#[tokio::test]
async fn a_destination_that_is_restarted_while_it_is_compared_is_copied_to_and_compared_again() {
    let stage = Stage::new().await;
    stage.world.state().restart_when_compared = true;
    let phases = verified(&stage).await;
    assert_eq!(phases[3..7], [Phase::Copy, Phase::Verify, Phase::Copy, Phase::Verify]);
}

#[tokio::test]
async fn a_source_that_is_restarted_after_the_comparison_is_compared_again_and_not_waited_for() {
    let stage = Stage::new().await;
    stage.world.state().restart_when_settling = true;
    let phases = verified(&stage).await;
    assert_eq!(phases[4..8], [Phase::Verify, Phase::Settle, Phase::Verify, Phase::Settle]);
}

#[tokio::test]
async fn an_external_copier_gets_both_uris_and_resume_finishes() {
    let stage = Stage::new().await;
    let mut order = stage.order();
    order.driving.copier = Copier::External;
    stage.migrate(&order).await.unwrap();
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
