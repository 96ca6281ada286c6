use super::*;

struct World {
    supervision: Supervision,
    now: Instant,
    attached: usize,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self { supervision: Supervision::new(now), now, attached: 0 }
    }

    /// One whose first worker serves.
    fn serving() -> Self {
        let mut world = Self::new();
        assert_eq!(world.effects(), [Effect::Start(1, Program::OnDisk)]);
        world.serve(1);
        world
    }

    fn effects(&mut self) -> Vec<Effect> {
        self.supervision.advance(self.now, self.attached);
        std::iter::from_fn(|| self.supervision.next_effect()).collect()
    }

    fn serve(&mut self, run: Run) {
        self.supervision.hello(run);
        assert_eq!(self.effects(), [Effect::Begin(run)]);
        self.supervision.ready(run, self.now);
        assert_eq!(self.effects(), [Effect::Serve(run)]);
        assert_eq!(self.supervision.serving(), Some(run));
    }

    fn exit(&mut self, run: Run) -> Vec<Effect> {
        self.supervision.exited(run, self.now);
        self.effects()
    }

    fn wait(&mut self) -> Vec<Effect> {
        self.now = self.supervision.deadline().expect("something to wait for");
        self.effects()
    }
}

#[test]
fn a_dead_worker_is_followed_at_once_and_begins_when_all_it_had_sent_is_taken() {
    let mut world = World::serving();
    world.attached = 2;
    assert_eq!(world.exit(1), [Effect::Start(2, Program::OnDisk)]);
    world.supervision.hello(2);
    assert_eq!(world.effects(), [], "clients still hear the dead one");
    world.attached = 0;
    assert_eq!(world.effects(), [Effect::Begin(2)]);
}

#[test]
fn workers_that_do_not_live_are_followed_for_ever_with_a_bounded_pause() {
    let mut world = World::serving();
    let began = world.now;
    for run in 1..1000 {
        let effects = world.exit(run);
        let effects = if effects.is_empty() { world.wait() } else { effects };
        assert!(matches!(effects[..], [Effect::Start(started, _)] if started == run + 1));
        if run == u64::from(AT_ONCE_MAX) {
            assert_eq!(world.now, began, "the first of them wait for nothing");
        }
    }
    let before = world.now;
    world.exit(1000);
    world.wait();
    assert_eq!(world.now - before, PAUSE_MAX);
    world.serve(1001);
    world.now += LIVED_MIN;
    let effects = world.exit(1001);
    assert!(matches!(effects[..], [Effect::Start(1002, _)]), "one that lived is followed at once");
}

#[test]
fn a_program_that_makes_no_worker_takes_turns_with_the_keepers_own_until_one_serves() {
    let mut world = World::serving();
    assert_eq!(world.exit(1), [Effect::Start(2, Program::OnDisk)]);
    assert_eq!(world.exit(2), [Effect::Start(3, Program::Own)]);
    world.supervision.reject(3);
    assert_eq!(world.effects(), [Effect::Kill(3)]);
    assert_eq!(world.exit(3), [Effect::Start(4, Program::OnDisk)]);
    assert_eq!(world.exit(4), [Effect::Start(5, Program::Own)]);
    world.serve(5);
    assert_eq!(world.exit(5), [Effect::Start(6, Program::Own)], "what has served serves again");
    world.serve(6);
    world.supervision.reload();
    assert_eq!(world.effects(), [Effect::Start(7, Program::OnDisk)]);
}

#[test]
fn a_first_worker_that_cannot_serve_is_the_keepers_end() {
    let mut world = World::new();
    world.effects();
    assert_eq!(world.exit(1), [Effect::GiveUp]);
    assert_eq!(world.effects(), []);
}

#[test]
fn an_upgrade_starts_the_new_worker_before_the_old_one_leaves() {
    let mut world = World::serving();
    world.supervision.reload();
    assert_eq!(world.effects(), [Effect::Start(2, Program::OnDisk)]);
    assert_eq!(world.supervision.serving(), Some(1));
    world.supervision.hello(2);
    assert_eq!(world.effects(), [Effect::HandOver(1)]);
    assert_eq!(world.supervision.serving(), None);
    assert_eq!(world.exit(1), [Effect::Begin(2)]);
    world.supervision.ready(2, world.now);
    assert_eq!(world.effects(), [Effect::Serve(2)]);
}

#[test]
fn an_upgrade_that_cannot_start_leaves_the_old_worker_alone() {
    let mut world = World::serving();
    world.supervision.reload();
    world.effects();
    assert_eq!(world.exit(2), [Effect::Refused(2)]);
    assert_eq!(world.supervision.serving(), Some(1));
    world.supervision.reload();
    assert_eq!(world.effects(), [Effect::Start(3, Program::OnDisk)], "another try");
    assert_eq!(world.wait(), [Effect::Kill(3)], "it says nothing");
    assert_eq!(world.exit(3), [Effect::Refused(3)]);
    world.supervision.reload();
    world.effects();
    world.supervision.reject(4);
    assert_eq!(world.effects(), [Effect::Kill(4)], "it speaks another language");
    assert_eq!(world.supervision.serving(), Some(1));
}

#[test]
fn a_worker_that_dies_while_its_successor_starts_is_followed_by_it() {
    let mut world = World::serving();
    world.supervision.reload();
    world.effects();
    assert_eq!(world.exit(1), []);
    world.serve(2);
}

#[test]
fn a_worker_that_hangs_is_killed_where_it_has_something_to_do_in_time() {
    let mut world = World::new();
    world.effects();
    world.supervision.hello(1);
    world.effects();
    assert_eq!(world.wait(), [Effect::Kill(1)]);
    let mut world = World::serving();
    world.supervision.reload();
    world.effects();
    world.supervision.hello(2);
    assert_eq!(world.effects(), [Effect::HandOver(1)]);
    assert_eq!(world.wait(), [Effect::Kill(1)]);
    assert_eq!(world.exit(1), [Effect::Begin(2)]);
}

#[test]
fn a_shutdown_ends_every_worker_and_starts_none() {
    let mut world = World::serving();
    world.supervision.reload();
    world.effects();
    world.supervision.end(Ending::ForGood, world.now);
    assert_eq!(world.effects(), [Effect::ShutDown(1), Effect::Kill(2)]);
    assert_eq!(world.exit(2), [Effect::Refused(2)]);
    assert_eq!(world.exit(1), [Effect::Finish]);
    let mut world = World::serving();
    world.exit(1);
    world.supervision.end(Ending::ForGood, world.now);
    assert_eq!(world.effects(), [Effect::Kill(2)]);
    assert_eq!(world.exit(2), [Effect::Finish]);
}

#[test]
fn a_shutdown_during_a_handover_ends_the_one_that_leaves() {
    let mut world = World::serving();
    world.supervision.reload();
    world.effects();
    world.supervision.hello(2);
    assert_eq!(world.effects(), [Effect::HandOver(1)]);
    world.supervision.end(Ending::ForGood, world.now);
    assert_eq!(world.effects(), [Effect::ShutDown(1), Effect::Kill(2)]);
}

#[test]
fn a_keeper_that_leaves_has_its_worker_hand_over_and_waits_for_all_that_it_had_sent() {
    let mut world = World::serving();
    world.attached = 1;
    world.supervision.end(Ending::ToAnother, world.now);
    assert_eq!(world.effects(), [Effect::HandOver(1)]);
    assert_eq!(world.exit(1), [], "a client still hears it");
    world.attached = 0;
    assert_eq!(world.effects(), [Effect::Finish]);
}

#[test]
fn a_keeper_that_leaves_can_still_be_told_to_end_for_good_and_not_the_other_way_round() {
    let mut world = World::serving();
    world.supervision.end(Ending::ToAnother, world.now);
    world.effects();
    world.supervision.end(Ending::ForGood, world.now);
    assert_eq!(world.effects(), [Effect::ShutDown(1)]);
    world.supervision.end(Ending::ToAnother, world.now);
    assert_eq!(world.effects(), []);
}

#[test]
fn a_keeper_with_clients_of_another_never_gives_up() {
    let now = Instant::now();
    let supervision = Supervision::new(now).that_inherits();
    let mut world = World { supervision, now, attached: 0 };
    world.effects();
    assert_eq!(world.exit(1), [Effect::Start(2, Program::Own)]);
}

#[test]
fn a_worker_that_has_fallen_silent_is_killed_and_one_that_says_that_it_lives_is_not() {
    let mut world = World::serving();
    for _ in 0..100 {
        world.now += SILENCE_MAX / 2;
        world.supervision.alive(1, world.now);
        assert_eq!(world.effects(), []);
    }
    assert_eq!(world.wait(), [], "it is listened for");
    world.supervision.alive(1, world.now);
    assert_eq!(world.wait(), [], "it was late");
    assert_eq!(world.wait(), [Effect::Kill(1)]);
    assert_eq!(world.exit(1), [Effect::Start(2, Program::OnDisk)]);
}

#[test]
fn a_keeper_that_was_stopped_itself_listens_before_it_kills() {
    let mut world = World::serving();
    world.now += SILENCE_MAX * 100;
    assert_eq!(world.effects(), []);
    world.supervision.alive(1, world.now);
    world.now += SILENCE_MAX / 2;
    assert_eq!(world.effects(), []);
}
