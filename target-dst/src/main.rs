//! target-dst

fn main() {}
