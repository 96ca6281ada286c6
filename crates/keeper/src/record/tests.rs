use std::io::IoSlice;
use std::iter;

use blockferry_tcp_progress::Progress;
use proptest::prelude::*;
use rustix::fs::fstat;
use rustix::io::pwritev;

use super::*;
use crate::frame::Kind;
use crate::talk::{Next, Talk};

/// What a worker does next.
#[derive(Clone, Debug)]
enum Step {
    /// It hears a request of so many bytes.
    Hear(usize),
    /// It answers one of those that have no answer, with so many bytes.
    Answer(prop::sample::Index, usize),
    /// It sends so much of what it has still to send.
    Send(prop::sample::Index),
    Renew,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = || prop_oneof![8 => 1..300_usize, 1 => 1..100_000_usize];
    let step = prop_oneof![
        4 => length().prop_map(Step::Hear),
        4 => (any::<prop::sample::Index>(), length()).prop_map(|(at, length)| Step::Answer(at, length)),
        2 => any::<prop::sample::Index>().prop_map(Step::Send),
        1 => Just(Step::Renew),
    ];
    proptest::collection::vec(step, 0..60)
}

/// A worker beside a keeper's conversation that hears each of its words at once.
struct World {
    record: OwnedFd,
    recorder: Recorder,
    at_once: Talk,
    /// Requests without an answer, as ranges of the client's stream.
    open: Vec<std::ops::Range<u64>>,
    heard: u64,
    /// What has still to be sent, and how much was.
    unsent: Vec<u8>,
    given: u64,
    next: u8,
}

/// A conversation in which the keeper has told so many bytes of its own before it lent the socket.
fn lent(told: usize) -> Talk {
    let mut talk = Talk::default().that_lends(true);
    talk.take_input(vec![9; told].into(), 1);
    while talk.to_worker().remaining() > 0 {
        let count = talk.to_worker().remaining();
        talk.to_worker().advance(count);
    }
    let (pass, bytes) = (Bytes::new(), Bytes::new());
    talk.take_frame(Frame { kind: Kind::Established, settles: 0..2, pass, bytes }).unwrap();
    talk.lend();
    talk
}

impl World {
    fn new(told: usize) -> Self {
        let record = new_record().unwrap();
        let recorder = Recorder::new(record.try_clone().unwrap(), told as u64, 2).unwrap();
        let open = (2..told as u64).map(|at| at..at + 1).collect();
        let (heard, unsent) = (told as u64, Vec::new());
        Self { record, recorder, at_once: lent(told), open, heard, unsent, given: 0, next: 0 }
    }

    fn bytes(&mut self, length: usize) -> Bytes {
        self.next = self.next.wrapping_add(1);
        vec![self.next; length].into()
    }

    fn say(&mut self, kind: Kind, settles: std::ops::Range<u64>, bytes: Bytes) {
        let frame = Frame { kind, settles, pass: Bytes::new(), bytes };
        self.at_once.take_frame(frame).unwrap();
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Hear(length) => {
                let (bytes, arrival) = (self.bytes(*length), self.heard);
                self.recorder.hear(&bytes, arrival).unwrap();
                self.open.push(self.heard..self.heard + *length as u64);
                self.heard += *length as u64;
                self.say(Kind::Heard, arrival..arrival, bytes);
            }
            Step::Answer(at, length) if !self.open.is_empty() => {
                let request = self.open.remove(at.index(self.open.len()));
                let bytes = self.bytes(*length);
                let parts = bytes.chunks(40_000);
                self.recorder.answer(request.clone(), *length, parts);
                self.recorder.write().unwrap();
                self.unsent.extend_from_slice(&bytes);
                self.say(Kind::Reply, request, bytes);
            }
            Step::Send(count) => {
                let count = count.index(self.unsent.len() + 1);
                self.unsent.drain(..count);
                self.given += count as u64;
            }
            Step::Renew => self.recorder.renew(self.given, iter::once(&self.unsent[..])).unwrap(),
            Step::Answer(..) => {}
        }
    }
}

/// What a successor is told, and what is still sent to the client.
fn end(mut talk: Talk, moved: Progress) -> (Next, Bytes, Bytes) {
    talk.give_back(moved).unwrap();
    let next = talk.part();
    let mut told = Vec::new();
    while talk.to_worker().remaining() > 0 {
        let count = talk.to_worker().remaining();
        told.extend_from_slice(&talk.to_worker().copy_to_bytes(count));
    }
    let count = talk.to_client().remaining();
    (next, told.into(), talk.to_client().copy_to_bytes(count))
}

fn recalled(told: usize, record: &OwnedFd) -> Talk {
    let mut talk = lent(told);
    read_record(record).unwrap().into_iter().for_each(|frame| talk.take_frame(frame).unwrap());
    talk
}

proptest! {
    #[test]
    fn a_record_says_the_same_as_every_word_at_its_time(told in 2..40_usize, steps in steps()) {
        let mut world = World::new(told);
        steps.iter().for_each(|step| world.take(step));
        let moved = Progress { taken: world.heard - told as u64, given: world.given };
        prop_assert_eq!(end(recalled(told, &world.record), moved), end(world.at_once, moved));
    }
}

/// The half in use, and everything of it that was ever written.
fn image(record: &OwnedFd) -> (u64, Vec<u8>) {
    let half = read(record, 0, 8).unwrap().map_or(0, number);
    let longest = usize::try_from(fstat(record).unwrap().st_size).unwrap();
    let longest = longest.saturating_sub(usize::try_from(place_of(half)).unwrap()).min(1 << 16);
    (half, read(record, place_of(half), longest).unwrap().unwrap_or_default().to_vec())
}

fn record_of(half: u64, content: &[u8]) -> OwnedFd {
    let record = new_record().unwrap();
    pwritev(&record, &[IoSlice::new(&half.to_be_bytes())], 0).unwrap();
    pwritev(&record, &[IoSlice::new(content)], place_of(half)).unwrap();
    record
}

#[test]
fn a_worker_that_dies_in_the_middle_of_a_word_has_not_said_it() {
    let mut world = World::new(2);
    // Both halves have held words like those that follow, at the same places.
    for _ in 0..3 {
        for _ in 0..20 {
            world.take(&Step::Hear(50));
        }
        world.open.drain(..).for_each(|request| {
            world.recorder.answer(request, 3, iter::once(&b"yes"[..]));
        });
        world.recorder.renew(0, iter::empty()).unwrap();
    }
    let before = read_record(&world.record).unwrap();
    let (half, old) = image(&world.record);
    world.take(&Step::Hear(50));
    let after = read_record(&world.record).unwrap();
    let (same, new) = image(&world.record);
    assert_eq!((half, old.len()), (same, new.len()));
    let length = new.iter().zip(&old).rposition(|(new, old)| new != old).unwrap() + 1;
    for cut in 0..=length {
        let torn = record_of(half, &[&new[..cut], &old[cut..]].concat());
        let expected = if cut == length { &after } else { &before };
        assert_eq!(&read_record(&torn).unwrap(), expected, "cut at {cut} of {length}");
    }
}

#[test]
fn a_record_of_which_nothing_was_written_says_nothing() {
    assert_eq!(read_record(&new_record().unwrap()).unwrap(), Vec::new());
}

#[test]
fn a_record_stays_short_however_much_is_said() {
    let mut world = World::new(2);
    for _ in 0..2000 {
        world.take(&Step::Hear(30_000));
        let request = world.open.remove(0);
        world.recorder.answer(request, 40_000, iter::once(&[1; 40_000][..]));
        world.recorder.write().unwrap();
        world.given += 40_000;
        if world.recorder.is_long(0) {
            world.recorder.renew(world.given, iter::empty()).unwrap();
        }
    }
    let blocks = u64::try_from(fstat(&world.record).unwrap().st_blocks).unwrap();
    assert!(blocks * 512 < 3 << 20, "{} bytes", blocks * 512);
}
