use bytes::Bytes;
use futures_util::FutureExt;

use super::*;

fn write(order: &DeliveryOrder, offset: u64, arrival: Option<u64>) -> Turn {
    let data = Bytes::from(vec![0; 8]);
    order.enter(&Request::Write { offset, data, fua: false }, arrival)
}

fn read(order: &DeliveryOrder, offset: u64) -> Turn {
    let extent = Extent::between(offset, offset + 8);
    order.enter(&Request::Read { extent, dont_fragment: false }, None)
}

fn has_come(turn: &mut Turn) -> bool {
    let come = turn.come.as_mut().map(|come| come.as_mut().now_or_never());
    let has_come = come.is_none_or(|come| come.is_some());
    if has_come {
        turn.come = None;
    }
    has_come
}

#[test]
fn a_write_waits_until_the_answer_of_an_earlier_one_has_left() {
    let order = DeliveryOrder::default();
    let mut first = write(&order, 0, None);
    let (mut other, mut second) = (write(&order, 8, None), write(&order, 4, None));
    assert!(has_come(&mut first) && has_come(&mut other) && !has_come(&mut second));
    let is_waited_for = |turn: &Turn| turn.hold.as_ref().expect("a write").is_waited_for();
    assert!(is_waited_for(&first) && is_waited_for(&other) && !is_waited_for(&second));
    drop(other);
    assert!(!has_come(&mut second));
    drop(first.hold.take());
    assert!(has_come(&mut second));
}

#[test]
fn reads_wait_for_nobody() {
    let order = DeliveryOrder::default();
    let _write = write(&order, 0, None);
    assert!(has_come(&mut read(&order, 0)));
}

#[test]
fn what_is_begun_again_begins_in_the_order_of_its_first_arrival() {
    let order = DeliveryOrder::default();
    let (one, other) = (order.expect(), order.expect());
    let mut late = write(&order, 0, Some(7));
    drop(one);
    let mut new = write(&order, 0, None);
    let mut early = write(&order, 0, Some(3));
    assert!(!has_come(&mut early), "a client is missing");
    drop(other);
    assert!(has_come(&mut early) && !has_come(&mut late) && !has_come(&mut new));
    drop(early);
    assert!(has_come(&mut late) && !has_come(&mut new));
    drop(late);
    assert!(has_come(&mut new));
}

#[test]
fn i15_no_read_sees_a_state_between_writes_that_are_begun_again() {
    let order = DeliveryOrder::default();
    let all = order.expect();
    let mut during = read(&order, 0);
    let mut first = write(&order, 0, Some(1));
    let mut second = write(&order, 4, Some(2));
    drop(all);
    let (mut after, mut elsewhere) = (read(&order, 0), read(&order, 100));
    assert!(has_come(&mut first) && has_come(&mut elsewhere));
    assert!(!has_come(&mut during) && !has_come(&mut after));
    drop(first);
    assert!(has_come(&mut second) && !has_come(&mut during) && !has_come(&mut after));
    drop(second);
    assert!(has_come(&mut during) && has_come(&mut after));
    assert!(order.lock().members.is_empty(), "a read that has begun is in nobody's way");
}

#[test]
fn one_that_gives_up_lets_those_behind_it_go_at_any_time() {
    let order = DeliveryOrder::default();
    let all = order.expect();
    let gathered = write(&order, 0, Some(1));
    let mut first = write(&order, 0, Some(2));
    let (waiting, mut last) = (write(&order, 0, Some(3)), write(&order, 0, None));
    drop(gathered);
    drop(all);
    assert!(has_come(&mut first));
    drop(waiting);
    drop(first);
    assert!(has_come(&mut last));
    drop(last);
    let state = order.lock();
    assert!(state.members.is_empty() && state.waiting.is_empty() && state.repeated == 0);
}

#[test]
fn what_touches_nothing_needs_no_turn() {
    let order = DeliveryOrder::default();
    let _all = order.expect();
    let mut flush = order.enter(&Request::Flush, Some(1));
    assert!(has_come(&mut flush) && flush.hold.is_none());
}
