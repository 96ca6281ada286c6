//! What the in-flight record adds to a request: every write of every client goes through it.

use std::collections::VecDeque;
use std::hint::black_box;

use blockferry_block::Extent;
use blockferry_migration::in_flight::{InFlight, Mode};
use criterion::{Criterion, criterion_group, criterion_main};

/// Bytes of a request.
const BLOCK: u64 = 4096;
/// Requests that are under way at one time.
const DEPTHS: [usize; 3] = [1, 32, 512];

fn admit_and_erase(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit one, erase the oldest");
    for (kind, mode, blocks) in [
        ("writes anywhere", Mode::Exclusive, 1 << 28),
        ("reads anywhere", Mode::Shared, 1 << 28),
        ("writes that overlap", Mode::Exclusive, 4),
    ] {
        for depth in DEPTHS {
            group.bench_function(format!("{kind}, {depth} under way"), |bencher| {
                let mut record = InFlight::default();
                let mut under_way = VecDeque::new();
                let mut number = 0_u64;
                bencher.iter(|| {
                    number += 1;
                    let block = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % blocks;
                    let extent = Extent::between(block * BLOCK, (block + 1) * BLOCK);
                    under_way.push_back(record.admit(extent, mode));
                    if under_way.len() > depth {
                        under_way.pop_front().into_iter().for_each(|oldest| record.erase(oldest));
                        black_box(record.take_granted());
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, admit_and_erase);
criterion_main!(benches);
