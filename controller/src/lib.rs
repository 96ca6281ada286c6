//! Drives a migration.
mod copy;
