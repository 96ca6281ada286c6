//! What is interrupted goes on, from where it was and not from the beginning.

use super::*;

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
