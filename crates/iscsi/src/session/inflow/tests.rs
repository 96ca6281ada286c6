use proptest::prelude::*;

use super::*;
use crate::lun::Lun;
use crate::numbers::{Itt, Serial, Ttt};

fn piece(data_sn: u32, offset: u32, last: bool) -> DataOut {
    DataOut {
        last,
        lun: Lun(0),
        itt: Itt(1),
        ttt: Ttt::NONE,
        expected_stat_sn: Serial(0),
        data_sn,
        offset,
    }
}

fn bytes(length: usize) -> Bytes {
    Bytes::from(vec![1; length])
}

/// A write of 10,000 bytes that asks for 4,000 at a time, and was taken whole.
fn soliciting() -> Inflow {
    let mut inflow = Inflow::new(10_000, 0, false, 4000);
    inflow.take(10_000, Delivery::Whole);
    assert_eq!(inflow.begin_soliciting(0xff_ffff), 3);
    inflow
}

#[test]
fn bursts_cover_what_is_wanted_and_no_more_are_out_than_may_be() {
    let mut inflow = soliciting();
    let burst = |number, tag, offset, length| Some(Burst { number, tag, offset, length });
    assert_eq!(inflow.next_burst(2), burst(0, 0xff_ffff, 0, 4000));
    assert_eq!(inflow.next_burst(2), burst(1, 0, 4000, 4000));
    assert_eq!(inflow.next_burst(2), None);
    assert_eq!(inflow.solicited(&piece(0, 0, true), 0xff_ffff, bytes(4000)), Ok(()));
    assert_eq!(inflow.next_burst(2), burst(2, 1, 8000, 2000));
    assert_eq!(inflow.next_burst(9), None);
}

#[test]
fn data_out_of_order_is_refused() {
    let error = Err(Fault::DataOutOfOrder(Itt(1)));
    let mut inflow = soliciting();
    inflow.next_burst(1);
    assert_eq!(inflow.solicited(&piece(1, 0, false), 0xff_ffff, bytes(10)), error);
    assert_eq!(inflow.solicited(&piece(0, 10, false), 0xff_ffff, bytes(10)), error);
    assert_eq!(inflow.solicited(&piece(0, 0, false), 0xff_ffff, bytes(10)), Ok(()));
    assert_eq!(inflow.solicited(&piece(0, 10, false), 0xff_ffff, bytes(10)), error);
}

#[test]
fn data_beyond_a_burst_or_short_of_it_is_refused() {
    let mut inflow = soliciting();
    inflow.next_burst(1);
    let more = inflow.solicited(&piece(0, 0, true), 0xff_ffff, bytes(4001));
    assert_eq!(more, Err(Fault::TooMuchData(Itt(1))));
    let mut inflow = soliciting();
    inflow.next_burst(1);
    let less = inflow.solicited(&piece(0, 0, true), 0xff_ffff, bytes(3999));
    assert_eq!(less, Err(Fault::MissingData(Itt(1))));
}

#[test]
fn data_that_nobody_asked_for_is_refused() {
    let error = Err(Fault::UnexpectedData(Itt(1)));
    let mut inflow = soliciting();
    assert_eq!(inflow.solicited(&piece(0, 0, true), 0xff_ffff, bytes(4000)), error);
    inflow.next_burst(1);
    assert_eq!(inflow.solicited(&piece(0, 0, true), 5, bytes(4000)), error);
    assert_eq!(inflow.unsolicited(&piece(0, 0, true), bytes(10)), error);
}

#[test]
fn unsolicited_data_ends_with_the_first_burst() {
    let mut inflow = Inflow::new(10_000, 3000, true, 4000);
    inflow.begin(bytes(1000));
    assert_eq!(inflow.unsolicited(&piece(0, 1000, false), bytes(1000)), Ok(()));
    let more = inflow.unsolicited(&piece(1, 2000, true), bytes(1001));
    assert_eq!(more, Err(Fault::TooMuchData(Itt(1))));
}

#[test]
fn what_the_command_does_not_take_is_neither_kept_nor_asked_for() {
    let mut inflow = Inflow::new(10_000, 3000, true, 4000);
    inflow.begin(bytes(1000));
    inflow.take(1500, Delivery::Whole);
    assert_eq!(inflow.portion(), None);
    inflow.unsolicited(&piece(0, 1000, true), bytes(2000)).unwrap();
    let portion = inflow.portion().unwrap();
    assert_eq!((portion.offset, portion.data.len(), portion.last), (0, 1500, true));
    assert_eq!((inflow.to_solicit(), inflow.is_wanted()), (0, false));
    let mut inflow = Inflow::new(10_000, 3000, false, 4000);
    inflow.begin(bytes(1000));
    inflow.take(300, Delivery::Pieces);
    assert_eq!(inflow.portion().unwrap().data.len(), 300);
}

#[test]
fn more_than_the_initiator_has_is_not_waited_for() {
    let mut inflow = Inflow::new(200, 3000, false, 4000);
    inflow.begin(bytes(200));
    inflow.take(512, Delivery::Whole);
    let portion = inflow.portion().unwrap();
    assert_eq!((portion.data.len(), portion.last), (200, true));
}

#[test]
fn small_pieces_do_not_keep_the_memory_that_they_came_in() {
    let mut gathered = Gathered::default();
    (0..1000).for_each(|_| gathered.push(bytes(10)));
    gathered.push(bytes(LONE_PIECE_BYTES_MIN));
    let pieces = gathered.take();
    assert_eq!((pieces.len(), pieces.iter().count()), (11_024, 3));
    assert!(gathered.take().is_empty());
}

proptest! {
    #[test]
    fn any_split_of_a_burst_arrives_whole(
        cuts in proptest::collection::vec(1..900_u32, 1..40), whole: bool,
    ) {
        let length: u32 = cuts.iter().sum();
        let content: Bytes = (0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
        let delivery = if whole { Delivery::Whole } else { Delivery::Pieces };
        let mut inflow = Inflow::new(length, 0, false, length);
        inflow.take(length, delivery);
        inflow.begin_soliciting(0);
        inflow.next_burst(1);
        let (mut got, mut at, mut ended) = (Vec::new(), 0, false);
        for (data_sn, cut) in (0..).zip(cuts) {
            let data = content.slice(at as usize..(at + cut) as usize);
            inflow.solicited(&piece(data_sn, at, at + cut == length), 0, data).unwrap();
            at += cut;
            if let Some(portion) = inflow.portion() {
                prop_assert_eq!(portion.offset as usize, got.len());
                got.extend_from_slice(&portion.data.into_bytes());
                ended = portion.last;
            }
            prop_assert_eq!(got.len() as u32, if whole && at < length { 0 } else { at });
        }
        prop_assert!(ended && !inflow.is_awaited());
        prop_assert_eq!(Bytes::from(got), content);
    }
}
