//! A seeded world of clock, network and disks that runs the state machines.
