//! The ordered copy against two volumes in memory.

use std::time::Duration;

use blockferry_device::{Errno, Failure};
use tokio::time;

use super::*;
use crate::end::{EndError, Side};
use crate::fake::FakeEnd;

const CHUNK: u64 = 2 * LEAF;
/// [`LEAF`] as an index.
const LEAF_INDEX: usize = 64 << 10;
const MANNER: Manner = Manner { chunk: CHUNK, chunk_max: CHUNK, window: 1, chunks_ahead: 2 };

/// Data in leaves 0 to 5 and 20, with a hole of 8 KiB in leaf 2, and a short last leaf.
fn content() -> Vec<u8> {
    let leaf = LEAF_INDEX;
    let mut content = vec![0; 40 * leaf + 4097];
    for (index, byte) in content.iter_mut().enumerate() {
        if matches!(index / leaf, 0..=5 | 20 | 40) {
            *byte = u8::try_from(index / 7 % 255).unwrap() + 1;
        }
    }
    content[2 * leaf + 4096..2 * leaf + 12288].fill(0);
    content
}

fn ends(content: Vec<u8>) -> (FakeEnd, FakeEnd) {
    let blank = vec![0xAA; content.len()];
    (FakeEnd::new(content), FakeEnd::new(blank))
}

async fn run(ends: &(FakeEnd, FakeEnd), start: u64, manner: Manner) -> Result<(), Halt> {
    let written = AtomicU64::new(0);
    OrderedCopy::new((&ends.0, &ends.1), start, manner, None, &written).run().await
}

#[tokio::test(start_paused = true)]
async fn d2_2_to_d2_4_each_write_follows_the_completion_of_the_one_before() {
    let ends = ends(content());
    ends.1.store().write_time = Duration::from_millis(3);
    run(&ends, 0, MANNER).await.unwrap();
    let destination = ends.1.store();
    assert_eq!(destination.content, content());
    assert_eq!(destination.under_way_max, 1);
    let mut total = 0;
    for (address, length, _) in &destination.writes {
        assert_eq!(*address, total, "the address is the total length read so far");
        total += length;
    }
    assert_eq!(total, content().len() as u64);
}

#[tokio::test]
async fn holes_travel_as_zeroes_as_large_as_they_are() {
    let ends = ends(content());
    run(&ends, 0, MANNER).await.unwrap();
    let holes: Vec<_> = ends.1.store().writes.iter().filter(|w| w.2).map(|w| w.1).collect();
    assert_eq!(holes.iter().sum::<u64>(), 8192 + 14 * LEAF + 19 * LEAF);
    assert!(holes.len() <= 8, "{holes:?}");
    let read: u64 = ends.0.store().reads.iter().map(|e| e.len()).sum();
    assert_eq!(read, 7 * LEAF + 4097, "holes are not read");
}

#[tokio::test]
async fn a_copy_goes_on_from_the_reserved_address() {
    let ends = ends(content());
    let (start, below) = (5 * LEAF, ..5 * LEAF_INDEX);
    ends.1.store().cursor = start;
    ends.1.store().content[below].copy_from_slice(&content()[below]);
    run(&ends, start, MANNER).await.unwrap();
    assert_eq!(ends.1.store().content, content());
    assert_eq!(ends.1.store().writes[0].0, start);
    assert_eq!(ends.0.store().reads[0].start(), start);
}

#[tokio::test(start_paused = true)]
async fn on_a_long_way_chunks_grow_and_nine_tenths_of_it_are_used() {
    let rate = 64 << 20;
    let size = 8 * rate;
    let ends = ends(vec![7; size]);
    {
        let mut destination = ends.1.store();
        destination.round_trip = Duration::from_millis(20);
        destination.bytes_per_second = rate as u64;
    }
    let began = time::Instant::now();
    let manner = Manner { chunk: 1 << 20, ..Manner::default() };
    run(&ends, 0, manner).await.unwrap();
    let share = 8.0 / began.elapsed().as_secs_f64();
    assert!(share > 0.9, "{share} of the way's rate");
    let lengths: Vec<_> = ends.1.store().writes.iter().map(|write| write.1).collect();
    assert_eq!((lengths[0], lengths.iter().max()), (1 << 20, Some(&(32 << 20))), "{lengths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_window_sends_more_writes_at_once_and_in_order() {
    let ends = ends(vec![7; 30 * LEAF_INDEX]);
    ends.1.store().write_time = Duration::from_millis(3);
    run(&ends, 0, Manner { window: 4, chunk: LEAF, chunk_max: LEAF, chunks_ahead: 8 })
        .await
        .unwrap();
    let destination = ends.1.store();
    assert_eq!(destination.under_way_max, 4);
    assert!(destination.writes.is_sorted_by_key(|write| write.0));
}

#[tokio::test(start_paused = true)]
async fn the_copy_reads_no_further_ahead_than_it_was_told() {
    let ends = ends(vec![7; 60 * LEAF_INDEX]);
    ends.1.store().write_time = Duration::from_secs(3600);
    let stalled = run(&ends, 0, MANNER);
    assert!(time::timeout(Duration::from_secs(60), stalled).await.is_err());
    let claimed = ends.0.store().cursor;
    // One chunk is being written, two are read ahead.
    assert_eq!(claimed, 3 * CHUNK);
}

#[tokio::test]
async fn a_refused_address_stops_the_copy_and_keeps_the_servers_words() {
    let ends = ends(content());
    ends.1.store().cursor = LEAF;
    let halt = run(&ends, 0, MANNER).await.unwrap_err();
    let Halt::Refused { side: Side::Destination, failure, .. } = &halt else {
        panic!("{halt:?}");
    };
    assert_eq!(failure.errno, Errno::Inval);
    assert!(halt.to_string().contains("expected address 65536"), "{halt}");
    assert_eq!(ends.1.store().cursor, LEAF, "nothing was changed");
}

#[tokio::test(start_paused = true)]
async fn a_read_error_is_tried_again_and_nothing_unread_is_written() {
    let fault = || EndError::Refused(Failure::new(Errno::Io, "unreadable sector"));
    let recovers = ends(content());
    recovers.0.store().faults.extend([fault(), fault()]);
    run(&recovers, 0, MANNER).await.unwrap();
    assert_eq!(recovers.1.store().content, content());

    let stays = ends(content());
    stays.0.store().faults.extend(std::iter::repeat_with(fault).take(1000));
    let halt = run(&stays, 0, MANNER).await.unwrap_err();
    assert!(matches!(halt, Halt::Failed { side: Side::Source, .. }), "{halt:?}");
    assert!(halt.to_string().contains("[0, 131072)"), "{halt}");
    assert_eq!(stays.1.store().writes, []);
}

#[tokio::test]
async fn a_lost_connection_is_no_failed_storage() {
    let ends = ends(content());
    ends.1.store().faults.push_back(EndError::Lost("reset".to_owned()));
    let halt = run(&ends, 0, MANNER).await.unwrap_err();
    assert!(matches!(halt, Halt::Lost { side: Side::Destination, .. }), "{halt:?}");
}

#[tokio::test]
async fn a_destination_without_write_zeroes_gets_the_zeroes_as_data() {
    let mut ends = ends(content());
    ends.1.info.features.write_zeroes = false;
    run(&ends, 0, MANNER).await.unwrap();
    assert_eq!(ends.1.store().content, content());
    assert!(ends.1.store().writes.iter().all(|w| !w.2 && w.1 <= CHUNK));
}

#[tokio::test]
async fn a_source_without_block_status_is_read_whole() {
    let mut ends = ends(content());
    ends.0.info.features.block_status = false;
    run(&ends, 0, MANNER).await.unwrap();
    assert_eq!(ends.1.store().content, content());
}

#[tokio::test]
async fn an_empty_volume_is_copied_at_once() {
    let ends = ends(Vec::new());
    run(&ends, 0, MANNER).await.unwrap();
    assert_eq!(ends.1.store().writes, []);
}

#[tokio::test(start_paused = true)]
async fn the_bandwidth_limit_counts_data_and_not_holes() {
    let ends = ends(vec![7; 32 * LEAF_INDEX].into_iter().chain(vec![0; 1 << 25]).collect());
    let began = time::Instant::now();
    let mut pace = Pace::new(LEAF, began.into_std());
    let written = AtomicU64::new(0);
    let copy = OrderedCopy::new((&ends.0, &ends.1), 0, MANNER, Some(&mut pace), &written);
    copy.run().await.unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!((29.0..=32.5).contains(&took), "{took} s for 32 leaves at one a second");
    assert_eq!(written.load(Ordering::Relaxed), ends.0.info.size);
}
