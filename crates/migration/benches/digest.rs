//! What the proof of the transport costs: hashing every byte that is copied, on both sides.

use std::hint::black_box;

use blockferry_block::{Extent, MIB};
use blockferry_migration::digest::{Frontier, Ledger, Noted, Piece};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Length of a chunk of the copy, in bytes: the controller's default.
const CHUNK: u64 = 8 * MIB;

fn destination(criterion: &mut Criterion) {
    let chunk = vec![1; CHUNK as usize];
    let mut group = criterion.benchmark_group("destination: push a chunk of 8 MiB");
    group.throughput(Throughput::Bytes(CHUNK));
    group.bench_function("data", |bencher| {
        let mut frontier = Frontier::new();
        bencher.iter(|| frontier.push(Piece::Data(black_box(&chunk))));
    });
    group.bench_function("a hole", |bencher| {
        let mut frontier = Frontier::new();
        bencher.iter(|| frontier.push(Piece::Zeroes(black_box(CHUNK))));
    });
    group.finish();
}

fn source(criterion: &mut Criterion) {
    let chunk = vec![1; CHUNK as usize];
    let size = 1 << 40;
    let mut group = criterion.benchmark_group("source: note a chunk of 8 MiB");
    group.throughput(Throughput::Bytes(CHUNK));
    group.bench_function("data", |bencher| {
        let mut ledger = Ledger::default();
        bencher.iter(|| ledger.note(Noted::of(0, &[Piece::Data(black_box(&chunk))], size)));
    });
    group.finish();
    let whole = Extent::whole(64 * CHUNK);
    let mut ledger = Ledger::default();
    for number in 0..whole.len() / CHUNK {
        ledger.note(Noted::of(number * CHUNK, &[Piece::Data(&chunk)], size));
    }
    criterion.bench_function("source: the digest of 512 MiB that were noted", |bencher| {
        bencher.iter(|| black_box(ledger.digest(whole.end())));
    });
}

criterion_group!(benches, destination, source);
criterion_main!(benches);
