use std::fs::File;
use std::future::poll_fn;
use std::io::Write;
use std::num::NonZeroU64;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, OFlags, fadvise};

use super::*;

const BLOCK: usize = 4096;

/// Where no ring can be had there is nothing to test here.
fn ring<T>(file: &File, in_flight_max: u32) -> Option<Ring<T>> {
    let ring = Ring::new(file.try_clone().unwrap(), in_flight_max);
    ring.inspect_err(|error| eprintln!("not checked: there is no io_uring here: {error}")).ok()
}

fn block(number: usize) -> Vec<u8> {
    (0..BLOCK).map(|at| (number * 31 + at * 7) as u8).collect()
}

/// A file of so many blocks and half of one. The page cache has none of them, if it can do without.
fn file(blocks: usize) -> File {
    let mut file = tempfile::tempfile().unwrap();
    (0..blocks).for_each(|number| file.write_all(&block(number)).unwrap());
    file.write_all(&block(blocks)[..BLOCK / 2]).unwrap();
    forget(&file);
    file
}

fn forget(file: &File) {
    file.sync_all().unwrap();
    fadvise(file, 0, None::<NonZeroU64>, Advice::DontNeed).unwrap();
}

fn ask(ring: &Ring<usize>, number: usize) -> bool {
    let memory = vec![0xEE; BLOCK].into();
    ring.read((number * BLOCK) as u64, BLOCK as u32, memory, number).is_ok()
}

/// Waits until so many reads have ended.
fn wait<T>(ring: &Ring<T>, count: usize) -> Vec<Ended<T>> {
    let mut ended = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    while ended.len() < count {
        assert!(Instant::now() < until, "{} of {count} reads have ended", ended.len());
        ring.reap(&mut ended);
        std::thread::yield_now();
    }
    ended
}

fn assert_is_right(ended: &Ended<usize>) {
    assert_eq!(*ended.count.as_ref().unwrap(), BLOCK);
    assert!(*ended.memory == block(ended.token), "block {} was read wrongly", ended.token);
}

#[test]
fn each_read_brings_what_the_file_has_there() {
    let file = file(64);
    let Some(ring) = ring(&file, 64) else { return };
    assert!((0..64).all(|number| ask(&ring, number)));
    ring.submit().unwrap();
    let ended = wait(&ring, 64);
    ended.iter().for_each(assert_is_right);
    let mut numbers: Vec<_> = ended.iter().map(|ended| ended.token).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..64).collect::<Vec<_>>());
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_full_ring_refuses_and_gives_back_what_it_was_given_until_an_end_was_taken() {
    let file = file(8);
    let Some(ring) = ring(&file, 4) else { return };
    assert!((0..4).all(|number| ask(&ring, number)));
    let refused = ring.read(0, 10, vec![5; 10].into(), 77).unwrap_err();
    assert_eq!((refused.token, &refused.memory[..]), (77, &[5; 10][..]));
    ring.submit().unwrap();
    assert_eq!(ring.in_flight(), 4);
    wait(&ring, 4);
    assert!((4..8).all(|number| ask(&ring, number)));
    ring.submit().unwrap();
    wait(&ring, 4).iter().for_each(assert_is_right);
}

#[test]
fn a_read_over_the_files_end_tells_how_much_there_was() {
    let file = file(3);
    let Some(ring) = ring(&file, 4) else { return };
    assert!(ask(&ring, 3) && ask(&ring, 4));
    ring.submit().unwrap();
    let mut ended = wait(&ring, 2);
    ended.sort_by_key(|ended| ended.token);
    assert_eq!(*ended[0].count.as_ref().unwrap(), BLOCK / 2);
    assert!(ended[0].memory[..BLOCK / 2] == block(3)[..BLOCK / 2]);
    assert!(ended[0].memory[BLOCK / 2..].iter().all(|byte| *byte == 0xEE));
    assert_eq!(*ended[1].count.as_ref().unwrap(), 0);
}

#[test]
fn what_the_kernel_refuses_is_an_error_of_that_read_alone() {
    let file = file(3);
    let Some(ring) = ring(&file, 4) else { return };
    ring.read(u64::MAX / 2, BLOCK as u32, vec![0; BLOCK].into(), 9).unwrap();
    assert!(ask(&ring, 1));
    ring.submit().unwrap();
    let mut ended = wait(&ring, 2);
    ended.sort_by_key(|ended| ended.token);
    assert_is_right(&ended[0]);
    assert!(!matches!(ended[1].count, Ok(BLOCK)), "{:?}", ended[1].count);
}

/// Memory where a disk can write into without the page cache between.
fn memory_for_a_disk() -> Box<[u8]> {
    let mut others = Vec::new();
    loop {
        let memory: Box<[u8]> = vec![0xEE; BLOCK + 16 * others.len()].into();
        if memory.as_ptr().addr().is_multiple_of(512) {
            return memory;
        }
        others.push(memory);
    }
}

/// Memory that were freed before the kernel has filled it would be taken by what is allocated next, and
/// that is what the disk would write into.
#[test]
fn a_ring_that_is_dropped_leaves_the_memory_of_its_reads_alone() {
    const COUNT: usize = 128;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let content: Vec<u8> = (0..COUNT).flat_map(block).collect();
    std::fs::write(&path, content).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap();
    let Ok(file) = File::options().read(true).custom_flags(direct).open(&path) else { return };
    for _ in 0..20 {
        let Some(ring) = ring(&file, COUNT as u32) else { return };
        for number in 0..COUNT {
            let offset = (number * BLOCK) as u64;
            ring.read(offset, BLOCK as u32, memory_for_a_disk(), number).unwrap();
        }
        ring.submit().unwrap();
        drop(ring);
        let others: Vec<Vec<u8>> = (0..8 * COUNT).map(|_| vec![0xAA; BLOCK]).collect();
        std::thread::sleep(Duration::from_millis(20));
        assert!(others.iter().flatten().all(|byte| *byte == 0xAA), "the disk wrote into it");
    }
}

#[test]
fn a_read_whose_thread_has_gone_ends_nevertheless_rightly_or_with_an_error() {
    let file = file(128);
    let Some(ring) = ring(&file, 128) else { return };
    let ring = Arc::new(ring);
    let asking = Arc::clone(&ring);
    std::thread::spawn(move || {
        assert!((0..128).all(|number| ask(&asking, number)));
        asking.submit().unwrap();
    });
    wait(&ring, 128).iter().filter(|ended| ended.count.is_ok()).for_each(assert_is_right);
}

#[tokio::test]
async fn the_reaper_is_woken_whenever_something_has_ended() {
    let file = file(512);
    let Some(ring) = ring(&file, 64) else { return };
    let ring = Arc::new(ring);
    let reaper = Reaper::new(Arc::clone(&ring)).unwrap();
    let mut ended = Vec::new();
    for round in 0..8 {
        assert!((0..64).all(|number| ask(&ring, round * 64 + number)));
        ring.submit().unwrap();
        while ended.len() < 64 {
            let reaped = poll_fn(|cx| reaper.poll_reap(cx, &mut ended));
            let reaped = tokio::time::timeout(Duration::from_secs(60), reaped).await;
            reaped.expect("nobody was woken").unwrap();
        }
        ended.drain(..).for_each(|ended| assert_is_right(&ended));
    }
}
