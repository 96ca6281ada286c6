//! The scopes that are explored to the last state by the tests, and larger ones for a long run.

use crate::place::Span;
use crate::request::{Request, Verb};
use crate::scope::{Faults, Scope, Start};

const WRITE_A: Request = Request::new(Verb::Write, Span::A);
const WRITE_AB: Request = Request::new(Verb::Write, Span::AB);
const FUA_A: Request = Request::new(Verb::WriteFua, Span::A);
const TRIM_B: Request = Request::new(Verb::Trim, Span::B);
const FLUSH: Request = Request::new(Verb::Flush, Span::AB);

const NONE: Faults = Faults { crashes: 0, breaks: 0, errors: 0 };

const SWEEP: Scope = Scope {
    start: Start::Begun,
    menu: &[WRITE_AB],
    clients: 2,
    requests: 1,
    switch: false,
    controllers: 1,
    faults: NONE,
    mutant: None,
};

/// Model (a): copy, mirror, dirty extents, activity log, attach.
pub mod sweep {
    use super::*;

    /// Two clients beside the sweep, from before it begins; nothing goes wrong.
    pub const CALM: Scope =
        Scope { start: Start::Owner, menu: &[WRITE_A, WRITE_AB, TRIM_B], requests: 2, ..SWEEP };

    /// A storage program dies.
    pub const CRASH: Scope =
        Scope { menu: &[WRITE_AB, FUA_A], faults: Faults { crashes: 1, ..NONE }, ..SWEEP };

    /// A connection breaks, or an answer comes too late.
    pub const BREAK: Scope =
        Scope { menu: &[WRITE_AB, TRIM_B], faults: Faults { breaks: 1, ..NONE }, ..SWEEP };

    /// A disk fails.
    pub const ERROR: Scope =
        Scope { menu: &[WRITE_AB, TRIM_B], faults: Faults { errors: 1, ..NONE }, ..SWEEP };

    /// One client writes and flushes, and a storage program dies.
    pub const FLUSHED: Scope = Scope {
        menu: &[WRITE_AB, FLUSH],
        clients: 1,
        requests: 2,
        faults: Faults { crashes: 1, ..NONE },
        ..SWEEP
    };
}

/// Model (b): commit, forwarding, replay, and the fences of sessions.
pub mod change {
    use super::*;

    const READ_A: Request = Request::new(Verb::Read, Span::A);

    const CHANGE: Scope =
        Scope { start: Start::Swept, switch: true, menu: &[WRITE_A, READ_A], requests: 2, ..SWEEP };

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
