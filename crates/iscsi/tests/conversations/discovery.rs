use blockferry_iscsi::pdu::{
    RejectReason, Request, Response, ScsiCommand, TextRequest, TextResponse,
};
use blockferry_iscsi::{
    Event, IscsiName, Itt, Lun, PortalAddress, PortalGroup, QueryId, Serial, TargetEntry,
    TargetQuery, Ttt,
};

use crate::talk::{Talk, pairs, text};

fn request(ttt: Ttt) -> TextRequest {
    TextRequest {
        immediate: true,
        last: true,
        continued: false,
        lun: Lun(0),
        itt: Itt(9),
        ttt,
        cmd_sn: Serial(100),
        expected_stat_sn: Serial(0),
    }
}

fn name(volume: &str) -> IscsiName {
    IscsiName::parse(&format!("iqn.2026-01.io.blockferry:{volume}")).unwrap()
}

fn entry(volume: &str, hosts: &[&str]) -> TargetEntry {
    let portal = |host: &&str| (PortalAddress::new(host, 3260).unwrap(), PortalGroup(1));
    TargetEntry { name: name(volume), portals: hosts.iter().map(portal).collect() }
}

fn ask(talk: &mut Talk, pairs: &[&str]) -> Option<(QueryId, TargetQuery)> {
    talk.send(Request::Text(request(Ttt::NONE)), &text(pairs)).unwrap();
    match talk.events().pop() {
        Some(Event::SendTargets { id, query }) => Some((id, query)),
        Some(other) => panic!("{other:?}"),
        None => None,
    }
}

fn response(talk: &mut Talk) -> (TextResponse, Vec<u8>) {
    match talk.response() {
        (Response::Text(response), data) => (response, data.to_vec()),
        other => panic!("{other:?}"),
    }
}

fn rejected(talk: &mut Talk) -> RejectReason {
    match talk.response() {
        (Response::Reject(reject), _) => reject.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_targets_are_told_with_their_portals() {
    let mut talk = Talk::discovery();
    let (id, query) = ask(&mut talk, &["SendTargets=All"]).unwrap();
    assert_eq!(query, TargetQuery::All);
    talk.session.tell_targets(
        id,
        &[entry("a", &["192.0.2.1", "2001:db8::1", "storage.example.com"]), entry("b", &[])],
    );
    let (response, data) = response(&mut talk);
    assert!(response.last && !response.continued && response.ttt == Ttt::NONE);
    assert_eq!(
        pairs(&data),
        [
            "TargetName=iqn.2026-01.io.blockferry:a",
            "TargetAddress=192.0.2.1:3260,1",
            "TargetAddress=[2001:db8::1]:3260,1",
            "TargetAddress=storage.example.com:3260,1",
            "TargetName=iqn.2026-01.io.blockferry:b",
        ]
    );
}

#[test]
fn one_target_may_be_asked_for() {
    let mut talk = Talk::discovery();
    let (id, query) = ask(&mut talk, &["SendTargets=iqn.2026-01.io.blockferry:A"]).unwrap();
    assert_eq!(query, TargetQuery::One(name("a")));
    talk.session.tell_targets(id, &[]);
    let (response, data) = response(&mut talk);
    assert!(response.last && data.is_empty());
}

#[test]
fn a_normal_session_is_told_of_its_own_target_alone() {
    for value in ["", "All", "iqn.2026-01.io.blockferry:vol"] {
        let mut talk = Talk::new(&[]);
        let (_, query) = ask(&mut talk, &[&format!("SendTargets={value}")]).unwrap();
        assert_eq!(query, TargetQuery::One(name("vol")), "{value}");
    }
    let mut talk = Talk::new(&[]);
    assert_eq!(ask(&mut talk, &["SendTargets=iqn.2026-01.io.blockferry:other"]), None);
    assert_eq!(rejected(&mut talk), RejectReason::INVALID_FIELD);
}

/// The wrong questions of libiscsi's test, each of which has to fail without harm.
#[test]
fn wrong_questions_are_rejected_and_the_session_goes_on() {
    let mut talk = Talk::new(&[]);
    for wrong in ["SendTargetsPlease=All", "SendTargets=Alle", "SendTargets=A", "sENDtARGETS=aLL"] {
        assert_eq!(ask(&mut talk, &[wrong]), None);
        assert_eq!(rejected(&mut talk), RejectReason::INVALID_FIELD, "{wrong}");
    }
    let (id, _) = ask(&mut talk, &["SendTargets=All"]).unwrap();
    talk.session.tell_targets(id, &[entry("vol", &["192.0.2.1"])]);
    assert!(response(&mut talk).0.last);
    let mut discovery = Talk::discovery();
    assert_eq!(ask(&mut discovery, &["SendTargets="]), None);
    assert_eq!(rejected(&mut discovery), RejectReason::INVALID_FIELD);
}

#[test]
fn a_long_answer_comes_in_parts_that_the_initiator_fetches() {
    let mut talk = Talk::discovery();
    let targets: Vec<_> =
        (0..400).map(|number| entry(&format!("volume-{number}"), &["192.0.2.1"])).collect();
    let (id, _) = ask(&mut talk, &["SendTargets=All"]).unwrap();
    talk.session.tell_targets(id, &targets);
    let mut all = Vec::new();
    loop {
        let (response, data) = response(&mut talk);
        all.extend_from_slice(&data);
        assert_ne!(response.last, response.continued);
        if response.last {
            break;
        }
        assert_eq!(data.len(), 8192);
        talk.send(Request::Text(request(response.ttt)), b"").unwrap();
    }
    assert_eq!(pairs(&all).len(), 800);
}

#[test]
fn a_question_may_come_in_parts() {
    let mut talk = Talk::discovery();
    let part = TextRequest { last: false, continued: true, ..request(Ttt::NONE) };
    talk.send(Request::Text(part), b"SendTar").unwrap();
    let (first, data) = response(&mut talk);
    assert!(!first.last && !first.continued && data.is_empty() && first.ttt != Ttt::NONE);
    talk.send(Request::Text(request(first.ttt)), b"gets=All\0").unwrap();
    assert!(matches!(talk.events()[..], [Event::SendTargets { .. }]));
}

#[test]
fn an_initiator_may_keep_the_last_word() {
    let mut talk = Talk::discovery();
    let open = TextRequest { last: false, ..request(Ttt::NONE) };
    talk.send(Request::Text(open), b"X-com.example=1\0").unwrap();
    let (first, data) = response(&mut talk);
    assert!(!first.last && !first.continued);
    assert_eq!(pairs(&data), ["X-com.example=NotUnderstood"]);
    talk.send(Request::Text(request(first.ttt)), b"").unwrap();
    assert!(response(&mut talk).0.last);
}

#[test]
fn the_segment_length_may_be_declared_again() {
    let mut talk = Talk::new(&[]);
    assert_eq!(ask(&mut talk, &["MaxRecvDataSegmentLength=4096"]), None);
    assert!(response(&mut talk).1.is_empty());
    assert_eq!(talk.session.parameters().initiator_segment_max, 4096);
    assert_eq!(ask(&mut talk, &["MaxRecvDataSegmentLength=1"]), None);
    assert_eq!(pairs(&response(&mut talk).1), ["MaxRecvDataSegmentLength=Reject"]);
}

#[test]
fn a_new_question_takes_the_place_of_the_last() {
    let mut talk = Talk::discovery();
    let (old, _) = ask(&mut talk, &["SendTargets=All"]).unwrap();
    let (new, _) = ask(&mut talk, &["SendTargets=All"]).unwrap();
    talk.session.tell_targets(old, &[entry("old", &[])]);
    assert!(talk.responses().is_empty());
    talk.session.tell_targets(new, &[entry("new", &[])]);
    assert_eq!(pairs(&response(&mut talk).1), ["TargetName=iqn.2026-01.io.blockferry:new"]);
}

#[test]
fn texts_that_belong_to_nothing_are_rejected() {
    let mut talk = Talk::discovery();
    talk.send(Request::Text(request(Ttt(5))), b"").unwrap();
    assert_eq!(rejected(&mut talk), RejectReason::PROTOCOL_ERROR);
    let part = TextRequest { last: false, continued: true, ..request(Ttt::NONE) };
    talk.send(Request::Text(part), b"Send").unwrap();
    let ttt = response(&mut talk).0.ttt;
    let other = TextRequest { itt: Itt(10), ..request(ttt) };
    talk.send(Request::Text(other), b"Targets=All\0").unwrap();
    assert_eq!(rejected(&mut talk), RejectReason::PROTOCOL_ERROR);
    let both = TextRequest { continued: true, ..request(Ttt::NONE) };
    talk.send(Request::Text(both), b"").unwrap();
    assert_eq!(rejected(&mut talk), RejectReason::INVALID_FIELD);
    talk.send(Request::Text(request(Ttt::NONE)), b"no pair\0").unwrap();
    assert_eq!(rejected(&mut talk), RejectReason::INVALID_FIELD);
}

#[test]
fn a_discovery_session_takes_no_commands() {
    let mut talk = Talk::discovery();
    let command: ScsiCommand = talk.command();
    talk.send(Request::ScsiCommand(command), b"").unwrap();
    assert_eq!(rejected(&mut talk), RejectReason::PROTOCOL_ERROR);
}
