use blockferry_iscsi::pdu::{LoginRequest, LoginStatus, Stage};
use blockferry_iscsi::{
    Admission, Cid, Digests, Isid, Itt, LoginStep, Parameters, PortalAddress, PortalGroup, Refusal,
    Serial, SessionType, Tsih,
};

use crate::refusals::refused;
use crate::talk::{INITIATOR, LoginTalk, TARGET, request, text};

const OPERATIONAL: (Stage, Stage) = (Stage::Operational, Stage::FullFeature);
const SECURITY: (Stage, Stage) = (Stage::Security, Stage::Operational);

fn step(stages: (Stage, Stage)) -> LoginRequest {
    request(stages.0, stages.1)
}

/// The bytes of a request: the words of its header, then its text.
fn raw(header: [u32; 12], pairs: &[&str]) -> Vec<u8> {
    let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    let data = text(pairs);
    bytes[5..8].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
    bytes.extend(&data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// What open-iscsi sends without CHAP: the security stage, then the operational one.
#[test]
fn open_iscsi_logs_in() {
    let mut talk = LoginTalk::new();
    let first = raw(
        [0x4381_0000, 0, 0x0002_3d01, 0, 0, 0, 1, 0, 0, 0, 0, 0],
        &[
            "InitiatorName=iqn.1993-08.org.debian:01:5a1c1e8b2d",
            "InitiatorAlias=client",
            TARGET,
            "SessionType=Normal",
            "AuthMethod=None",
        ],
    );
    let LoginStep::Ask(who) = talk.send_raw(&first) else { panic!("no question") };
    assert_eq!(who.initiator.as_str(), "iqn.1993-08.org.debian:01:5a1c1e8b2d");
    assert_eq!(who.alias.as_deref(), Some("client"));
    assert_eq!(who.session_type(), SessionType::Normal);
    assert_eq!(talk.serve(), LoginStep::ReadMore);
    let (response, pairs) = talk.response();
    assert_eq!((response.current, response.next), SECURITY);
    assert!(response.transit && response.status.is_success());
    assert_eq!(pairs, ["TargetPortalGroupTag=1", "AuthMethod=None"]);
    let second = raw(
        [0x4387_0000, 0, 0x0002_3d01, 0, 0, 0, 1, 1, 0, 0, 0, 0],
        &[
            "HeaderDigest=None",
            "DataDigest=None",
            "DefaultTime2Wait=2",
            "DefaultTime2Retain=0",
            "IFMarker=No",
            "OFMarker=No",
            "ErrorRecoveryLevel=0",
            "InitialR2T=No",
            "ImmediateData=Yes",
            "MaxBurstLength=16776192",
            "FirstBurstLength=262144",
            "MaxOutstandingR2T=1",
            "MaxConnections=1",
            "DataPDUInOrder=Yes",
            "DataSequenceInOrder=Yes",
            "MaxRecvDataSegmentLength=262144",
        ],
    );
    let LoginStep::Established(established) = talk.send_raw(&second) else { panic!("no session") };
    let (response, pairs) = talk.response();
    assert_eq!((response.current, response.next), OPERATIONAL);
    assert_eq!((response.transit, response.tsih, response.isid.0[3]), (true, Tsih(7), 1));
    assert_eq!(
        pairs,
        [
            "MaxRecvDataSegmentLength=262144",
            "HeaderDigest=None",
            "DataDigest=None",
            "DefaultTime2Wait=2",
            "DefaultTime2Retain=0",
            "IFMarker=No",
            "OFMarker=No",
            "ErrorRecoveryLevel=0",
            "InitialR2T=No",
            "ImmediateData=Yes",
            "MaxBurstLength=1048576",
            "FirstBurstLength=262144",
            "MaxOutstandingR2T=1",
            "MaxConnections=1",
            "DataPDUInOrder=Yes",
            "DataSequenceInOrder=Yes",
        ]
    );
    assert_eq!(established.key.isid, Isid([0, 2, 0x3d, 1, 0, 0]));
    assert_eq!((established.next_cmd_sn, established.next_stat_sn), (Serial(1), Serial(2)));
    assert_eq!(established.parameters.max_burst, 1 << 20);
}

/// What libiscsi sends without a user: the operational stage at once.
#[test]
fn libiscsi_logs_in() {
    let mut talk = LoginTalk::new();
    let bytes = raw(
        [0x4387_0000, 0, 0x8012_3456, 0, 0x6b8b_4567, 0, 0x327b_23c6, 0, 0, 0, 0, 0],
        &[
            "InitiatorName=iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test",
            TARGET,
            "SessionType=Normal",
            "HeaderDigest=None,CRC32C",
            "DataDigest=None,CRC32C",
            "InitialR2T=No",
            "ImmediateData=Yes",
            "MaxBurstLength=262144",
            "FirstBurstLength=262144",
            "DefaultTime2Wait=2",
            "DefaultTime2Retain=0",
            "MaxOutstandingR2T=1",
            "ErrorRecoveryLevel=0",
            "IFMarker=No",
            "OFMarker=No",
            "MaxConnections=1",
            "MaxRecvDataSegmentLength=262144",
            "DataPDUInOrder=Yes",
            "DataSequenceInOrder=Yes",
        ],
    );
    assert!(matches!(talk.send_raw(&bytes), LoginStep::Ask(_)));
    let LoginStep::Established(established) = talk.serve() else { panic!("no session") };
    let (response, pairs) = talk.response();
    assert_eq!(response.itt, Itt(0x6b8b_4567));
    assert_eq!(response.sequence.expected_cmd_sn, Serial(0x327b_23c6));
    assert_eq!(response.sequence.max_cmd_sn, Serial(0x327b_23c6 + 127));
    assert_eq!(pairs[0], "TargetPortalGroupTag=1");
    let expected = Parameters {
        digests: Digests::default(),
        initial_r2t: false,
        immediate_data: true,
        initiator_segment_max: 262_144,
        target_segment_max: 262_144,
        max_burst: 262_144,
        first_burst: 262_144,
        max_outstanding_r2t: 1,
        time2wait: 2,
        time2retain: 0,
    };
    assert_eq!(established.parameters, expected);
}

#[test]
fn a_session_says_which_other_it_replaces() {
    let mut talk = LoginTalk::new();
    talk.send(&step(OPERATIONAL), &text(&[INITIATOR, TARGET]));
    let LoginStep::Established(first) = talk.serve() else { panic!("no session") };
    let mut talk = LoginTalk::new();
    talk.send(&step(OPERATIONAL), &text(&[&INITIATOR.replace("io.b", "IO.B"), TARGET]));
    let LoginStep::Established(second) = talk.serve() else { panic!("no session") };
    assert_eq!(first.key, second.key);
    assert_eq!((first.key.portal_group, first.cid, first.tsih), (PortalGroup(1), Cid(3), Tsih(7)));
    let mut talk = LoginTalk::new();
    let other = LoginRequest { isid: Isid([0x80, 0, 0, 0, 0, 2]), ..step(OPERATIONAL) };
    talk.send(&other, &text(&[INITIATOR, TARGET]));
    let LoginStep::Established(third) = talk.serve() else { panic!("no session") };
    assert_ne!(first.key, third.key);
}

#[test]
fn a_text_may_come_in_several_requests_and_be_cut_anywhere() {
    let whole = text(&[INITIATOR, TARGET, "HeaderDigest=CRC32C"]);
    for cut in 0..whole.len() {
        let mut talk = LoginTalk::new();
        let part = LoginRequest { continued: true, transit: false, ..step(OPERATIONAL) };
        assert_eq!(talk.send(&part, &whole[..cut]), LoginStep::ReadMore);
        let (response, pairs) = talk.response();
        assert!(!response.transit && !response.continued && pairs.is_empty());
        assert!(matches!(talk.send(&step(OPERATIONAL), &whole[cut..]), LoginStep::Ask(_)));
        let LoginStep::Established(established) = talk.serve() else { panic!("no session") };
        assert!(established.parameters.digests.header);
    }
}

#[test]
fn a_stage_ends_only_when_the_initiator_says_so() {
    let mut talk = LoginTalk::new();
    let stay = LoginRequest { transit: false, ..step(OPERATIONAL) };
    talk.send(&stay, &text(&[INITIATOR, TARGET, "InitialR2T=No"]));
    assert_eq!(talk.serve(), LoginStep::ReadMore);
    let (response, pairs) = talk.response();
    assert!(!response.transit);
    assert_eq!(pairs.last().unwrap(), "InitialR2T=No");
    assert!(matches!(talk.send(&step(OPERATIONAL), b""), LoginStep::Established(_)));
    assert_eq!(talk.response().1, [""; 0]);
}

#[test]
fn the_operational_stage_may_be_left_out_and_then_the_defaults_hold() {
    let mut talk = LoginTalk::new();
    let request = request(Stage::Security, Stage::FullFeature);
    talk.send(&request, &text(&[INITIATOR, "SessionType=Discovery", "AuthMethod=None"]));
    let LoginStep::Established(established) = talk.serve() else { panic!("no session") };
    assert_eq!(established.parameters, Parameters::default());
    assert_eq!(established.session_type(), SessionType::Discovery);
    // A portal group tag belongs to a target.
    assert_eq!(talk.response().1, ["AuthMethod=None"]);
}

#[test]
fn a_target_that_has_moved_is_told_with_its_address() {
    let address = PortalAddress::new("2001:db8::7", 3261).unwrap();
    for (refusal, status) in [
        (Refusal::MovedTemporarily(address.clone()), LoginStatus::MOVED_TEMPORARILY),
        (Refusal::MovedPermanently(address.clone()), LoginStatus::MOVED_PERMANENTLY),
    ] {
        let mut talk = LoginTalk::new();
        talk.send(&step(SECURITY), &text(&[INITIATOR, TARGET, "AuthMethod=None"]));
        let end = talk.login.answer(Admission::Refuse(refusal));
        let pairs = refused(end, &mut talk, status);
        assert_eq!(pairs, ["TargetAddress=[2001:db8::7]:3261"]);
    }
}

#[test]
fn targets_are_not_asked_for_in_a_login() {
    let mut talk = LoginTalk::new();
    talk.send(&step(OPERATIONAL), &text(&[INITIATOR, TARGET, "SendTargets=All"]));
    assert!(matches!(talk.serve(), LoginStep::Established(_)));
    assert_eq!(talk.response().1.last().unwrap(), "SendTargets=Reject");
}

#[test]
fn an_alias_cannot_steer_a_terminal() {
    let mut talk = LoginTalk::new();
    let alias = format!("InitiatorAlias=a\x1b[2J{}", "b".repeat(400));
    let LoginStep::Ask(who) = talk.send(&step(OPERATIONAL), &text(&[INITIATOR, TARGET, &alias]))
    else {
        panic!("no question")
    };
    let alias = who.alias.unwrap();
    assert!(alias.starts_with("a[2Jb") && alias.len() == 255, "{alias}");
}
