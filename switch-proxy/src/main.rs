//! switch-proxy

fn main() {}
