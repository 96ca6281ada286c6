use blockferry_device::{Answer, Device, DeviceInfo, Outcome as Answered};
use blockferry_store::MemoryStore;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;
use crate::testing::written;

const BLOCK: usize = 512;

/// Memory; whoever changes it is alone.
struct Memory(MemoryStore);

impl Device for Memory {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }

    fn call(&self, request: Request) -> Answer {
        self.0.call(request)
    }

    fn call_now(&self, request: &Request) -> Option<Answered> {
        self.0.call_now(request)
    }
}

impl Medium for Memory {
    fn change(&self, _: Extent, _: Change) -> BoxFuture<'static, Result<Changed, Failure>> {
        Box::pin(std::future::ready(Ok(Changed::Unknown)))
    }
}

fn memory() -> Arc<Memory> {
    Arc::new(Memory(MemoryStore::new(1 << 20)))
}

fn extent(start: u64, length: usize) -> Extent {
    Extent::between(start, start + length as u64)
}

fn run(medium: &Arc<Memory>, work: Work, data: &[u8]) -> Executed {
    let data = if data.is_empty() { Pieces::default() } else { written(data) };
    let executed = execute(Arc::<Memory>::clone(medium), work, data).now_or_never();
    executed.expect("memory does not wait")
}

fn content(medium: &Arc<Memory>, extent: Extent) -> Bytes {
    let found = read(&**medium, extent).now_or_never();
    found.expect("memory does not wait").expect("memory does not fail")
}

#[test]
fn what_need_not_be_durable_is_done_at_once_and_the_rest_keeps_its_data() {
    let (medium, data) = (memory(), [7; BLOCK]);
    let write = |fua| Work::Write { extent: extent(512, BLOCK), fua };
    assert_eq!(execute_now(&*medium, &write(true), written(&data)).err(), Some(written(&data)));
    assert_eq!(content(&medium, extent(512, BLOCK)), [0; BLOCK][..]);
    let done = execute_now(&*medium, &write(false), written(&data)).ok();
    assert_eq!(done.map(|executed| executed.outcome), Some(Outcome::Done));
    assert_eq!(content(&medium, extent(512, BLOCK)), data[..]);
}

#[test]
fn a_verification_tells_the_first_byte_that_differs() {
    let medium = memory();
    let mut data = vec![1; 3 * BLOCK];
    run(&medium, Work::Write { extent: extent(0, data.len()), fua: true }, &data);
    let verify = |compare| Work::Verify { extent: extent(0, 3 * BLOCK), compare };
    assert_eq!(run(&medium, verify(Compare::Bytes), &data).outcome, Outcome::Done);
    data[700] = 2;
    let miscompare = Outcome::Miscompare { at: 700 };
    assert_eq!(run(&medium, verify(Compare::Bytes), &data).outcome, miscompare);
    run(&medium, Work::Write { extent: extent(0, data.len()), fua: false }, &data);
    let block = verify(Compare::Block { bytes: 512 });
    assert_eq!(run(&medium, block, &[1; BLOCK]).outcome, miscompare);
    assert_eq!(run(&medium, verify(Compare::Nothing), &[]).outcome, Outcome::Done);
}

#[test]
fn a_block_is_written_again_and_again_and_nothing_beside_it() {
    let medium = memory();
    let block: Vec<u8> = (0..BLOCK).map(|at| at as u8 | 1).collect();
    let pattern = Pattern::Block { bytes: 512 };
    let where_to = extent(1024, 5 * BLOCK);
    let work = Work::WriteSame { extent: where_to, pattern, unmap: false, fua: false };
    assert_eq!(run(&medium, work, &block).outcome, Outcome::Done);
    assert_eq!(content(&medium, where_to), block.repeat(5));
    assert_eq!(content(&medium, extent(512, BLOCK)), [0; BLOCK][..]);
    assert_eq!(content(&medium, extent(1024 + 5 * 512, BLOCK)), [0; BLOCK][..]);
}

#[test]
fn what_was_given_back_has_no_space_and_runs_are_told_up_to_their_number() {
    let medium = memory();
    // Memory has space in pages of this many bytes.
    let page = 64 << 10;
    for start in [0, page as u64] {
        run(&medium, Work::Write { extent: extent(start, BLOCK), fua: false }, &[1; BLOCK]);
    }
    let unmap = Work::Unmap { extents: vec![extent(page as u64, page)], fua: false };
    assert_eq!(run(&medium, unmap, &[]).outcome, Outcome::Done);
    let status = |runs_max| {
        let work = Work::LbaStatus { extent: extent(0, 1 << 20), runs_max, room: 1024 };
        run(&medium, work, &[]).outcome
    };
    let data = Run { length: page as u64, mapped: true };
    assert_eq!(status(1), Outcome::Runs(vec![data]));
    let hole = Run { length: (1 << 20) - page as u64, mapped: false };
    assert_eq!(status(9), Outcome::Runs(vec![data, hole]));
}

#[test]
fn what_nobody_can_tell_of_a_change_is_no_success() {
    let work = Work::OrWrite { extent: extent(0, BLOCK), fua: false };
    let outcome = run(&memory(), work, &[1; BLOCK]).outcome;
    assert_eq!(outcome, Outcome::Failed(WorkFailure::Internal));
}

#[test]
fn a_failure_is_told_as_what_initiators_know() {
    for (errno, expected) in [
        (Errno::NoSpc, WorkFailure::NoSpace),
        (Errno::Perm, WorkFailure::ReadOnly),
        (Errno::Shutdown, WorkFailure::Busy),
        (Errno::Io, WorkFailure::Medium { at: None }),
        (Errno::Inval, WorkFailure::Internal),
    ] {
        assert_eq!(failed(&Failure::new(errno, "why")), Outcome::Failed(expected));
    }
}
