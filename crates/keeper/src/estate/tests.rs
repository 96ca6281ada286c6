use proptest::prelude::*;

use super::*;
use crate::talk::Next;

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn pieces() -> impl Strategy<Value = Vec<(u64, Bytes)>> {
    let piece = (any::<u64>(), proptest::collection::vec(any::<u8>(), 1..40).prop_map(Bytes::from));
    proptest::collection::vec(piece, 0..6)
}

fn parts() -> impl Strategy<Value = TalkParts> {
    let pass = proptest::option::of(bytes());
    (any::<bool>(), any::<u16>(), pass, 0..100_u64, pieces(), bytes()).prop_map(
        |(ended, incarnation, pass, begun, pieces, outgoing)| {
            let kept: u64 = pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum();
            TalkParts { ended, incarnation, pass, begun: begun.min(kept), pieces, outgoing }
        },
    )
}

fn estates() -> impl Strategy<Value = Estate> {
    let peer = proptest::option::of(any::<([u8; 4], u16)>().prop_map(SocketAddr::from));
    let left = (any::<u64>(), peer, parts()).prop_map(|(client, peer, parts)| Left {
        client,
        peer,
        talk: parts.into(),
    });
    let clients = proptest::collection::vec(left, 0..4);
    ("[a-z:/]{0,60}", "[a-z:/]{0,60}", any::<u64>(), any::<u64>(), clients).prop_map(
        |(listen, bound, clock, next, clients)| Estate { listen, bound, clock, next, clients },
    )
}

fn written(estate: &Estate) -> Vec<u8> {
    let mut out = Vec::new();
    estate.write(&mut out).expect("a vector takes everything");
    out
}

proptest! {
    #[test]
    fn an_estate_is_read_as_it_was_written(estate in estates()) {
        let read = Estate::read(written(&estate).into()).unwrap();
        prop_assert_eq!(written(&read), written(&estate));
        for (read, left) in read.clients.iter().zip(&estate.clients) {
            prop_assert_eq!((read.client, read.peer), (left.client, left.peer));
            prop_assert_eq!(read.talk.parts(), left.talk.parts());
        }
    }

    #[test]
    fn an_estate_that_is_cut_anywhere_or_has_something_behind_it_is_none(
        estate in estates(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut whole = written(&estate);
        let cut = whole[..cut.index(whole.len())].to_vec();
        prop_assert_eq!(Estate::read(cut.into()).err(), Some(BadEstate::Foreign));
        whole.push(0);
        prop_assert_eq!(Estate::read(whole.into()).err(), Some(BadEstate::Foreign));
    }

    #[test]
    fn noise_is_no_estate(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Estate::read(noise.into()).is_err());
    }
}

#[test]
fn an_estate_of_a_later_version_is_refused_by_its_number() {
    let mut bytes = written(&Estate::default());
    bytes[9] = 9;
    assert_eq!(Estate::read(bytes.into()).err(), Some(BadEstate::Version(9)));
}

#[test]
fn a_conversation_goes_on_with_another_keeper_where_it_stood() {
    let parts = TalkParts {
        ended: true,
        incarnation: 3,
        pass: Some("pass".into()),
        begun: 4,
        pieces: vec![(7, "AAB".into()), (9, "BCC".into())],
        outgoing: "answer".into(),
    };
    let mut talk = Talk::from(parts);
    let sent = talk.to_client();
    assert_eq!(sent.copy_to_bytes(sent.remaining()), "answer");
    let Next::Resume(resume) = talk.part() else { panic!("it can be resumed") };
    assert_eq!((resume.incarnation, resume.replay), (4, 4));
    let told = talk.to_worker();
    told.advance(told.remaining());
    assert!(talk.to_worker().copy_to_bytes(6) == "AABBCC" && talk.is_over_for_worker());
}
