use proptest::prelude::*;

use super::*;

fn tell(retained: &mut Retained, count: usize) -> Vec<u8> {
    let mut told = vec![0; count.min(retained.remaining())];
    retained.copy_to_slice(&mut told);
    told
}

#[test]
fn what_has_its_answer_is_not_told_to_the_successor() {
    let mut retained = Retained::default();
    retained.push(Bytes::from_static(b"aabb"), 1);
    retained.push(Bytes::from_static(b"ccdd"), 2);
    assert_eq!(tell(&mut retained, 6), b"aabbcc");
    retained.settle(2..4).unwrap();
    let (replay, arrivals) = retained.rewind();
    assert_eq!(replay, 4);
    assert_eq!((arrivals.at(0), arrivals.at(1), arrivals.at(2)), (1, 1, 2));
    assert_eq!(tell(&mut retained, 99), b"aaccdd");
}

#[test]
fn what_was_not_asked_or_has_its_answer_cannot_be_settled() {
    let mut retained = Retained::default();
    retained.push(Bytes::from_static(b"abcd"), 1);
    assert!(retained.settle(0..1).is_err(), "the worker was told nothing");
    tell(&mut retained, 4);
    retained.settle(1..3).unwrap();
    for settled in [1..2, 0..4, 3..5, 2..4] {
        assert_eq!(retained.settle(settled.clone()), Err(NotKept { settled }));
    }
    retained.settle(7..7).unwrap();
    retained.settle(0..1).unwrap();
    retained.settle(3..4).unwrap();
    assert_eq!((retained.bytes, retained.pieces.len()), (0, 0));
}

#[test]
fn a_client_is_not_read_on_beyond_the_limits() {
    let mut retained = Retained::default();
    let piece = Bytes::from(vec![0; 1 << 20]);
    while retained.has_room() {
        retained.push(piece.clone(), 0);
    }
    assert_eq!(retained.bytes, RETAINED_BYTES_MAX);
    let mut retained = Retained::default();
    while retained.has_room() {
        retained.push(Bytes::from_static(b"x"), 0);
    }
    assert_eq!(retained.pieces.len(), PIECES_MAX);
}

/// The same by brute force: every byte with its arrival, and whether it was told and settled.
#[derive(Default)]
struct Model {
    bytes: Vec<(u8, u64, bool)>,
    told: usize,
    begun: usize,
}

impl Model {
    fn left(&self, range: Range<usize>) -> Vec<(u8, u64)> {
        let kept = self.bytes[range].iter().filter(|(.., settled)| !settled);
        kept.map(|(byte, arrival, _)| (*byte, *arrival)).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<u8>),
    Tell(usize),
    Settle(prop::sample::Index, usize),
    Rewind,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Step::Push),
        (0_usize..30).prop_map(Step::Tell),
        (any::<prop::sample::Index>(), 0_usize..12)
            .prop_map(|(at, length)| Step::Settle(at, length)),
        Just(Step::Rewind),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn nothing_is_lost_told_twice_or_out_of_order(steps in steps()) {
        let (mut retained, mut model) = (Retained::default(), Model::default());
        for (step, arrival) in steps.into_iter().zip(0..) {
            match step {
                Step::Push(bytes) => {
                    model.bytes.extend(bytes.iter().map(|byte| (*byte, arrival, false)));
                    retained.push(Bytes::from(bytes), arrival);
                }
                Step::Tell(count) => {
                    let told = tell(&mut retained, count);
                    let expected = &model.bytes[model.told..][..told.len()];
                    prop_assert!(expected.iter().map(|(byte, ..)| *byte).eq(told.iter().copied()));
                    model.told += told.len();
                    model.begun = model.begun.max(model.told);
                    prop_assert_eq!(retained.is_told(), model.told == model.bytes.len());
                }
                Step::Settle(at, length) => {
                    let start = at.index(model.bytes.len() + 1);
                    let end = start + length;
                    let legal = end <= model.told
                        && model.bytes[start..end].iter().all(|(.., settled)| !settled);
                    let outcome = retained.settle(start as u64..end as u64);
                    prop_assert_eq!(outcome.is_ok(), legal || length == 0);
                    if legal {
                        model.bytes[start..end].iter_mut().for_each(|(.., settled)| *settled = true);
                    }
                }
                Step::Rewind => {
                    let (replay, arrivals) = retained.rewind();
                    let before = model.left(0..model.begun);
                    prop_assert_eq!(replay, before.len() as u64);
                    for (offset, (_, arrival)) in (0..).zip(&before) {
                        prop_assert_eq!(arrivals.at(offset), *arrival);
                    }
                    let left = model.left(0..model.bytes.len());
                    model.bytes = left.into_iter().map(|(byte, at)| (byte, at, false)).collect();
                    (model.told, model.begun) = (0, before.len());
                }
            }
            let kept = model.bytes.iter().filter(|(.., settled)| !settled).count();
            prop_assert_eq!(retained.bytes, kept as u64);
        }
    }
}
