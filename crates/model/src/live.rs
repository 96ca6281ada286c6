//! What has to be reached from every state (L2, L3), asked of a [`Graph`](crate::search::Graph).

use blockferry_migration::source::Missing;

use crate::action::Action;
use crate::search::Question;
use crate::world::World;

/// Once failures stop, the sweep ends: everything is at the destination, durable and clean.
pub const SWEEP_ENDS: Question = Question {
    name: "L3: the sweep ends once failures stop",
    from: |_| true,
    over: |action| !action.is_fault(),
    goal: |world| world.source.machine.missing() == Some(Missing::Reads),
};

/// Requests are answered while nobody but the source does anything. A mirror write that has no
/// answer takes too long, once for each request; so the states asked about are those in which it
/// still may.
pub const CLIENTS_WAIT_FOR_NOBODY: Question = Question {
    name: "L2: no client waits for the controller or the destination",
    from: |world| usize::from(world.faults.breaks) >= unanswered(world),
    over: Action::is_of_source_alone,
    goal: |world| unanswered(world) == 0,
};

fn unanswered(world: &World) -> usize {
    world.clients.iter().filter(|client| client.unanswered.is_some()).count()
}

/// Once failures stop and a controller runs, the migration is committed and the destination owns the
/// volume, and everybody has an answer.
pub const COMMITTED: Question = Question {
    name: "L3: the destination owns the volume once failures stop",
    from: |_| true,
    over: |action| !action.is_fault(),
    goal: |world| world.destination.journal.owned && unanswered(world) == 0,
};

/// As [`CLIENTS_WAIT_FOR_NOBODY`], until the commit.
pub const WAITS_FOR_NOBODY_BEFORE_THE_COMMIT: Question = Question {
    name: "L2: no client waits for the controller or the destination before the commit",
    from: |world| {
        let free = usize::from(world.faults.breaks) >= unanswered(world);
        free && !world.source.journal.committed
    },
    over: Action::is_of_source_alone,
    goal: |world| unanswered(world) == 0 || world.source.journal.committed,
};

/// Once failures stop, whichever controllers are left bring the migration to its commit, unless it
/// was aborted or nobody has begun it again.
pub const COMMITTED_OR_ABORTED: Question = Question {
    name: "L3: the migration is committed or aborted once failures stop",
    from: |_| true,
    over: |action| !action.is_fault(),
    goal: |world| {
        let aborted = world.migration > 0 && !world.source.journal.sending;
        (world.destination.journal.owned || aborted) && unanswered(world) == 0
    },
};

/// As [`SWEEP_ENDS`], unless the migration was aborted and nobody has begun it again.
pub const SWEPT_OR_ABORTED: Question = Question {
    name: "L3: the sweep ends or is aborted once failures stop",
    goal: |world| {
        let aborted = world.migration > 0 && !world.source.journal.sending;
        aborted || (SWEEP_ENDS.goal)(world)
    },
    ..SWEEP_ENDS
};
