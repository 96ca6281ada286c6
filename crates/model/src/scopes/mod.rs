//! The scopes that are explored to the last state by the tests, and larger ones for a long run.

pub mod broken;

use crate::place::Span;
use crate::request::{Request, Verb};
use crate::scope::{Faults, Scope, Start};

const WRITE_A: Request = Request::new(Verb::Write, Span::A);
const WRITE_AB: Request = Request::new(Verb::Write, Span::AB);
const FUA_A: Request = Request::new(Verb::WriteFua, Span::A);
const TRIM_B: Request = Request::new(Verb::Trim, Span::B);
const READ_A: Request = Request::new(Verb::Read, Span::A);
const FLUSH: Request = Request::new(Verb::Flush, Span::AB);

const NONE: Faults =
    Faults { crashes: 0, switches: 0, breaks: 0, errors: 0, takeovers: 0, aborts: 0 };

const SWEEP: Scope = Scope {
    start: Start::Begun,
    menu: &[WRITE_AB],
    clients: 1,
    requests: 1,
    switch: false,
    controllers: 1,
    again: false,
    faults: NONE,
    mutant: None,
};

/// Every scope, by name.
pub const ALL: &[(&str, Scope)] = &[
    ("sweep.calm", sweep::CALM),
    ("sweep.crash", sweep::CRASH),
    ("sweep.durable", sweep::DURABLE),
    ("sweep.break", sweep::BREAK),
    ("sweep.error", sweep::ERROR),
    ("sweep.break-of-two", sweep::BREAK_OF_TWO),
    ("change.calm", change::CALM),
    ("change.crash", change::CRASH),
    ("change.durable", change::DURABLE),
    ("change.break", change::BREAK),
    ("change.error", change::ERROR),
    ("change.late", change::LATE),
    ("change.switch", change::SWITCH),
    ("recovery.sweep", recovery::SWEEP_OF_TWO),
    ("recovery.broken-sweep", recovery::BROKEN_SWEEP_OF_TWO),
    ("recovery.deadly-sweep", recovery::DEADLY_SWEEP_OF_TWO),
    ("recovery.aborted-sweep", recovery::ABORTED_SWEEP),
    ("recovery.commit", recovery::COMMIT_OF_TWO),
    ("recovery.abort", recovery::ABORT_OF_TWO),
    ("recovery.again", recovery::AGAIN_OF_TWO),
    ("recovery.deadly-abort", recovery::DEADLY_ABORT),
];

/// Model (a): copy, mirror, dirty extents, activity log, attach.
pub mod sweep {
    use super::*;

    /// Two clients beside the sweep, from before it begins; nothing goes wrong.
    pub const CALM: Scope =
        Scope { start: Start::Owner, menu: &[WRITE_AB, TRIM_B], clients: 2, requests: 2, ..SWEEP };

    /// A storage program dies.
    pub const CRASH: Scope = Scope { faults: Faults { crashes: 1, ..NONE }, ..SWEEP };

    /// The same beside a request that has to be durable; not among the tests.
    pub const DURABLE: Scope = Scope { menu: &[WRITE_AB, FUA_A], ..CRASH };

    /// A connection breaks, or an answer comes too late.
    pub const BREAK: Scope =
        Scope { menu: &[WRITE_AB, TRIM_B], faults: Faults { breaks: 1, ..NONE }, ..SWEEP };

    /// The same, with two clients that write to the same extent; not among the tests.
    pub const BREAK_OF_TWO: Scope = Scope {
        menu: &[WRITE_A],
        clients: 2,
        requests: 2,
        faults: Faults { breaks: 1, ..NONE },
        ..SWEEP
    };

    /// A disk fails.
    pub const ERROR: Scope =
        Scope { menu: &[WRITE_AB, TRIM_B], faults: Faults { errors: 1, ..NONE }, ..SWEEP };
}

/// Model (b): commit, forwarding, replay, and the fences of sessions.
pub mod change {
    use super::*;

    const CHANGE: Scope = Scope {
        start: Start::Swept,
        switch: true,
        menu: &[WRITE_A, READ_A],
        clients: 2,
        requests: 2,
        ..SWEEP
    };

    /// Two clients beside the change of owner; nothing goes wrong.
    pub const CALM: Scope = Scope { menu: &[WRITE_A, READ_A, FLUSH], requests: 3, ..CHANGE };

    /// A storage program dies.
    pub const CRASH: Scope =
        Scope { menu: &[WRITE_A], faults: Faults { crashes: 1, ..NONE }, ..CHANGE };

    /// A storage program dies beside requests that have to be durable.
    pub const DURABLE: Scope = Scope {
        menu: &[FUA_A, FLUSH, READ_A],
        clients: 1,
        faults: Faults { crashes: 1, ..NONE },
        ..CHANGE
    };

    /// A connection breaks, or an answer comes too late.
    pub const BREAK: Scope = Scope { faults: Faults { breaks: 1, ..NONE }, ..CHANGE };

    /// The switch dies: its worker alone, or its keeper with it.
    pub const SWITCH: Scope = Scope { faults: Faults { switches: 1, ..NONE }, ..CHANGE };

    /// A disk fails.
    pub const ERROR: Scope = Scope { faults: Faults { errors: 1, ..NONE }, ..CHANGE };

    /// A call of the sweep arrives when the change of owner is under way.
    pub const LATE: Scope = Scope {
        start: Start::Begun,
        menu: &[WRITE_A],
        clients: 1,
        requests: 1,
        faults: Faults { breaks: 1, ..NONE },
        ..CHANGE
    };
}

/// Model (c): terms of two controllers, abort, and a second migration.
pub mod recovery {
    use super::*;

    /// The second controller takes over during the sweep, while the first goes on.
    pub const SWEEP_OF_TWO: Scope =
        Scope { controllers: 2, faults: Faults { takeovers: 1, ..NONE }, ..SWEEP };

    /// The same, and connections break and calls are late.
    pub const BROKEN_SWEEP_OF_TWO: Scope =
        Scope { requests: 0, faults: Faults { takeovers: 1, breaks: 2, ..NONE }, ..SWEEP_OF_TWO };

    /// The same, and a storage program dies.
    pub const DEADLY_SWEEP_OF_TWO: Scope =
        Scope { requests: 0, faults: Faults { takeovers: 1, crashes: 1, ..NONE }, ..SWEEP_OF_TWO };

    /// The sweep is aborted and begun again.
    pub const ABORTED_SWEEP: Scope =
        Scope { again: true, faults: Faults { aborts: 1, ..NONE }, ..SWEEP };

    /// The second controller takes over when the first is about to commit, and either may abort.
    pub const COMMIT_OF_TWO: Scope = Scope {
        start: Start::Swept,
        switch: true,
        controllers: 2,
        menu: &[WRITE_A],
        faults: Faults { takeovers: 1, breaks: 1, ..NONE },
        ..SWEEP
    };

    /// Either may abort too, and its call may be late.
    pub const ABORT_OF_TWO: Scope =
        Scope { faults: Faults { aborts: 1, ..COMMIT_OF_TWO.faults }, ..COMMIT_OF_TWO };

    /// The same without a client, and the migration is begun again while calls of the first one, and
    /// its older controller, are still about.
    pub const AGAIN_OF_TWO: Scope = Scope { requests: 0, again: true, ..ABORT_OF_TWO };

    /// A storage program dies while the migration is aborted or committed.
    pub const DEADLY_ABORT: Scope =
        Scope { controllers: 1, faults: Faults { crashes: 1, aborts: 1, ..NONE }, ..COMMIT_OF_TWO };
}
