//! target-src

fn main() {}
