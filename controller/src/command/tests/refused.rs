//! What is refused, and that it changes nothing.

use super::*;

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
async fn abort_after_the_commit_is_refused() {
    let stage = Stage::new().await;
    stage.migrate(&stage.order()).await.unwrap();
    let error = one_line(&abort::abort(&stage.desk()).await.unwrap_err());
    assert!(error.contains("commit has happened"), "{error}");
    assert!(!stage.calls().iter().any(|call| call.contains("abort")));
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
