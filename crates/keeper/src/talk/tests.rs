use super::*;
use crate::arrivals::Arrivals;

fn frame(kind: Kind, settles: std::ops::Range<u64>, bytes: &'static str) -> Frame {
    let pass = if kind == Kind::Established { "pass" } else { "" };
    Frame { kind, settles, pass: pass.into(), bytes: bytes.into() }
}

fn told(talk: &mut Talk) -> Bytes {
    let mut all = Vec::new();
    while talk.to_worker().has_remaining() {
        let buffer = talk.to_worker();
        all.extend_from_slice(&buffer.copy_to_bytes(buffer.remaining()));
    }
    all.into()
}

fn sent(talk: &mut Talk) -> Bytes {
    let buffer = talk.to_client();
    buffer.copy_to_bytes(buffer.remaining())
}

/// In the transmission phase, with three requests told.
fn talking() -> Talk {
    let mut talk = Talk::default();
    talk.take_frame(frame(Kind::Handshake, 0..0, "hello ")).unwrap();
    talk.take_input("hi".into(), 1);
    talk.take_input("AABBCC".into(), 2);
    assert_eq!(told(&mut talk), "hiAABBCC");
    talk.take_frame(frame(Kind::Established, 0..2, "welcome ")).unwrap();
    talk
}

#[test]
fn a_successor_is_told_what_had_no_answer_and_then_what_is_new() {
    let mut talk = talking();
    talk.take_frame(frame(Kind::Reply, 4..6, "b")).unwrap();
    talk.take_input("D".into(), 9);
    let Next::Resume(resume) = talk.part() else { panic!("it can be resumed") };
    let expected = Resume { incarnation: 1, replay: 4, pass: "pass".into() };
    assert_eq!(resume, expected);
    let all = told(&mut talk);
    let (count, rest) = all.split_first_chunk().unwrap();
    let (arrivals, input) = rest.split_at(Arrivals::entries_length(*count).unwrap());
    assert_eq!(input, b"AACCD");
    assert_eq!(Arrivals::decode_entries(arrivals).at(3), 2);
    talk.take_frame(frame(Kind::Reply, 0..2, "a")).unwrap();
    assert_eq!(sent(&mut talk), "hello welcome ba");
}

#[test]
fn what_one_worker_may_have_begun_is_told_as_such_to_every_later_one() {
    let mut talk = talking();
    let Next::Resume(_) = talk.part() else { panic!("it can be resumed") };
    talk.to_worker().advance(1);
    let Next::Resume(resume) = talk.part() else { panic!("it can be resumed") };
    assert_eq!((resume.incarnation, resume.replay), (2, 6), "though the second was told none");
    assert!(told(&mut talk).ends_with(b"AABBCC"));
}

#[test]
fn a_client_that_was_sent_nothing_begins_anew_and_one_in_its_handshake_is_lost() {
    let mut talk = Talk::default();
    assert_eq!(talk.part(), Next::Fresh);
    talk.take_input("early".into(), 1);
    told(&mut talk);
    assert_eq!(talk.part(), Next::Fresh);
    assert_eq!(told(&mut talk), "early");
    talk.take_frame(frame(Kind::Handshake, 0..0, "hello")).unwrap();
    assert_eq!(talk.part(), Next::Over(Lost::Handshake));
}

#[test]
fn frames_out_of_order_and_second_answers_are_the_workers_fault() {
    let mut talk = Talk::default();
    let early = talk.take_frame(frame(Kind::Reply, 0..0, "x"));
    assert_eq!(early, Err(Fault::OutOfOrder(Kind::Reply)));
    let mut talk = talking();
    for kind in [Kind::Handshake, Kind::Established] {
        assert_eq!(talk.take_frame(frame(kind, 0..0, "x")), Err(Fault::OutOfOrder(kind)));
    }
    talk.take_frame(frame(Kind::Reply, 2..4, "a")).unwrap();
    assert!(talk.take_frame(frame(Kind::Reply, 2..4, "a")).is_err());
    assert_eq!(sent(&mut talk), "hello welcome a", "the second answer is not sent");
}

#[test]
fn neither_side_is_read_while_the_other_is_slow() {
    let mut talk = talking();
    assert!(talk.wants_input());
    talk.take_input("E".into(), 3);
    assert!(!talk.wants_input(), "the worker has not been told yet");
    told(&mut talk);
    assert!(talk.wants_input() && talk.wants_frames());
    let long = Bytes::from(vec![0; OUTGOING_BYTES_MAX]);
    talk.take_frame(Frame { bytes: long, ..frame(Kind::Reply, 2..4, "") }).unwrap();
    assert!(!talk.wants_frames());
}

#[test]
fn a_connection_ends_when_its_incarnations_are_used_up() {
    let mut talk = talking();
    for _ in 0..INCARNATION_MAX {
        assert!(matches!(talk.part(), Next::Resume(_)));
    }
    assert_eq!(talk.part(), Next::Over(Lost::Incarnations));
}

/// A conversation whose worker has the client's socket, with nothing under way.
fn lent() -> Talk {
    let mut talk = Talk::default().that_lends(true);
    talk.take_input("hi".into(), 1);
    told(&mut talk);
    talk.take_frame(frame(Kind::Established, 0..2, "welcome")).unwrap();
    sent(&mut talk);
    assert!(talk.is_to_be_lent());
    talk.lend();
    talk
}

fn heard(bytes: &'static str, arrival: u64) -> Frame {
    frame(Kind::Heard, arrival..arrival, bytes)
}

#[test]
fn a_socket_is_lent_when_all_that_was_begun_here_is_told_and_sent() {
    let mut talk = Talk::default().that_lends(true);
    talk.take_input("hi".into(), 1);
    assert!(!talk.is_to_be_lent(), "before the handshake's end no worker can be succeeded");
    told(&mut talk);
    talk.take_frame(frame(Kind::Established, 0..2, "welcome")).unwrap();
    assert!(!talk.wants_input(), "what comes next is the worker's to hear");
    assert!(!talk.is_to_be_lent(), "the client has not been sent everything");
    let early = talk.take_frame(frame(Kind::Reply, 2..2, "x"));
    assert_eq!(early, Err(Fault::OutOfOrder(Kind::Reply)), "nobody could tell who sends it");
    assert_eq!(talk.take_frame(heard("x", 1)), Err(Fault::OutOfOrder(Kind::Heard)));
    sent(&mut talk);
    assert!(talk.is_to_be_lent());
    talk.lend();
    assert!(talk.is_lent() && !talk.is_to_be_lent() && !talk.wants_input());
}

#[test]
fn a_successor_is_told_what_was_taken_and_has_no_answer_and_the_rest_is_left_in_the_socket() {
    let mut talk = lent();
    talk.take_frame(heard("AABB", 5)).unwrap();
    talk.take_frame(frame(Kind::Reply, 2..4, "a")).unwrap();
    talk.take_frame(heard("CCDD", 7)).unwrap();
    // It has taken two bytes of the last four.
    talk.give_back(Progress { taken: 6, given: 1 }).unwrap();
    let Next::Resume(resume) = talk.part() else { panic!("it can be resumed") };
    assert_eq!((resume.replay, sent(&mut talk)), (4, Bytes::new()));
    let all = told(&mut talk);
    let (count, rest) = all.split_first_chunk().unwrap();
    let (arrivals, input) = rest.split_at(Arrivals::entries_length(*count).unwrap());
    let arrivals = Arrivals::decode_entries(arrivals);
    assert_eq!((input, arrivals.at(1), arrivals.at(3)), (&b"BBCC"[..], 5, 7));
}

#[test]
fn the_rest_of_an_answer_that_was_begun_is_sent_and_no_byte_of_it_twice() {
    let mut talk = lent();
    talk.take_frame(heard("AABB", 5)).unwrap();
    talk.take_frame(frame(Kind::Reply, 2..4, "answer")).unwrap();
    talk.take_frame(frame(Kind::Reply, 4..6, " and more")).unwrap();
    talk.give_back(Progress { taken: 4, given: 5 }).unwrap();
    assert_eq!(sent(&mut talk), "r and more");
}

#[test]
fn a_worker_that_takes_or_sends_without_a_word_is_at_fault() {
    let moved = |taken, given| {
        let mut talk = lent();
        talk.take_frame(heard("AABB", 5)).unwrap();
        talk.take_frame(frame(Kind::Reply, 4..6, "b")).unwrap();
        talk.give_back(Progress { taken, given })
    };
    assert_eq!(moved(4, 1), Ok(()));
    assert_eq!(moved(5, 1), Err(Fault::Untold("taken")));
    assert_eq!(moved(4, 2), Err(Fault::Untold("sent")));
    assert_eq!(moved(3, 1), Err(Fault::Untold("taken")), "it has answered what it never took");
}

#[test]
fn a_worker_that_takes_more_than_is_kept_is_at_fault() {
    let mut talk = lent();
    let many = Bytes::from(vec![0; 32 << 20]);
    let told = (0..5).map(|arrival| {
        let settles = arrival..arrival;
        let frame = Frame { kind: Kind::Heard, settles, pass: Bytes::new(), bytes: many.clone() };
        talk.take_frame(frame)
    });
    assert_eq!(told.collect::<Vec<_>>().last(), Some(&Err(Fault::TooMuch)));
}
