//! What keeper and worker send each other.

use std::ops::Range;

use blockferry_keeper::{Arrivals, FRAME_BYTES_MAX, FrameDecoder, Next, Talk, ToKeeper, ToWorker};
use bytes::{Buf, Bytes};

use crate::pieces::feed;

/// What the client has sent and the worker was told, in bytes.
const TOLD: usize = 4096;

/// A worker's bytes for one client, and packets of either side.
pub fn keeper_frames(data: &[u8]) {
    assert_eq!(talk(data, None), talk(data, Some(1 + data.len() % 7)));
    let packet = Bytes::copy_from_slice(data);
    if let Ok(message) = ToWorker::decode(packet.clone()) {
        assert_eq!(ToWorker::decode(message.encode().into()), Ok(message));
    }
    if let Ok(message) = ToKeeper::decode(packet) {
        assert_eq!(ToKeeper::decode(message.encode().into()), Ok(message));
    }
}

/// What the client is sent, and what the next worker is told.
fn talk(data: &[u8], length: Option<usize>) -> (Vec<u8>, Option<Vec<u8>>) {
    let asked: Vec<u8> = (0..=250).cycle().take(TOLD).collect();
    let mut talk = Talk::default();
    talk.take_input(asked.clone().into(), 1);
    talk.to_worker().advance(TOLD);
    let mut settled = Vec::new();
    let mut decoder = FrameDecoder::default();
    feed(data, length, |input| {
        loop {
            match decoder.decode(input) {
                Ok(Some(frame)) => {
                    let range = frame.settles.clone();
                    if talk.take_frame(frame).is_err() {
                        return Some(());
                    }
                    settled.push(range);
                }
                Ok(None) => {
                    assert!((1..=FRAME_BYTES_MAX).contains(&decoder.missing(input)));
                    return None;
                }
                Err(_) => return Some(()),
            }
        }
    });
    let sent = all(talk.to_client());
    let told = match talk.part() {
        Next::Resume(resume) => {
            let told = all(talk.to_worker());
            let left = left(&asked, &settled);
            assert_eq!(resume.replay, left.len() as u64);
            Some(without_arrivals(told, all(talk.to_worker()), &left))
        }
        Next::Fresh => None,
        Next::Over(_) => None,
    };
    (sent, told)
}

/// What nothing has settled.
fn left(asked: &[u8], settled: &[Range<u64>]) -> Vec<u8> {
    let is_left = |at: u64| !settled.iter().any(|range| range.contains(&at));
    (0..).zip(asked).filter(|(at, _)| is_left(*at)).map(|(_, byte)| *byte).collect()
}

/// The preamble comes first and by itself.
fn without_arrivals(preamble: Vec<u8>, bytes: Vec<u8>, left: &[u8]) -> Vec<u8> {
    let (count, entries) = preamble.split_first_chunk().expect("a count");
    assert_eq!(Arrivals::entries_length(*count), Ok(entries.len()));
    assert_eq!(bytes, left);
    bytes
}

fn all(bytes: &mut dyn Buf) -> Vec<u8> {
    let mut all = vec![0; bytes.remaining()];
    bytes.copy_to_slice(&mut all);
    all
}
