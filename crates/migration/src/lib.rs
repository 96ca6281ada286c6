//! The migration protocol as state machines without clock, socket or disk.
