//! Durable records: append-only, checksummed, torn tails cut.
