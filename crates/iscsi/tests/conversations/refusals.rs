use blockferry_iscsi::pdu::{LoginRequest, LoginStatus, Stage};
use blockferry_iscsi::{
    Admission, Cid, DigestPolicy, Isid, Itt, LoginStep, Offer, Opcode, Refusal, SessionLimits, Tsih,
};

use crate::talk::{INITIATOR, LoginTalk, TARGET, request, text};

const OPERATIONAL: (Stage, Stage) = (Stage::Operational, Stage::FullFeature);
const SECURITY: (Stage, Stage) = (Stage::Security, Stage::Operational);

fn step(stages: (Stage, Stage)) -> LoginRequest {
    request(stages.0, stages.1)
}

/// How the status of the one response turns the initiator away.
pub(crate) fn refused(step: LoginStep, talk: &mut LoginTalk, status: LoginStatus) -> Vec<String> {
    let LoginStep::Refused(refusal) = step else { panic!("{step:?}") };
    assert_eq!(refusal.status(), Some(status), "{refusal}");
    let (response, pairs) = talk.response();
    assert_eq!((response.status, response.transit, response.tsih), (status, false, Tsih(0)));
    pairs
}

#[test]
fn what_the_caller_refuses_the_initiator_is_told() {
    for (refusal, status) in [
        (Refusal::NotFound, LoginStatus::NOT_FOUND),
        (Refusal::Removed, LoginStatus::REMOVED),
        (Refusal::NotAllowed, LoginStatus::NOT_ALLOWED),
        (Refusal::Busy, LoginStatus::SERVICE_UNAVAILABLE),
        (Refusal::OutOfResources, LoginStatus::OUT_OF_RESOURCES),
    ] {
        let mut talk = LoginTalk::new();
        talk.send(&step(OPERATIONAL), &text(&[INITIATOR, TARGET]));
        let end = talk.login.answer(Admission::Refuse(refusal));
        assert_eq!(refused(end, &mut talk, status), [""; 0]);
    }
}

#[test]
fn a_login_without_what_it_has_to_name_is_refused() {
    let table: [(&[&str], LoginStatus); 7] = [
        (&[TARGET], LoginStatus::MISSING_PARAMETER),
        (&[INITIATOR], LoginStatus::MISSING_PARAMETER),
        (&["InitiatorName=me", TARGET], LoginStatus::INITIATOR_ERROR),
        (&[INITIATOR, "TargetName=vol"], LoginStatus::NOT_FOUND),
        (&[INITIATOR, TARGET, "SessionType=Other"], LoginStatus::SESSION_TYPE),
        (&[INITIATOR, INITIATOR, TARGET], LoginStatus::INITIATOR_ERROR),
        (&["nonsense"], LoginStatus::INITIATOR_ERROR),
    ];
    for (pairs, status) in table {
        let mut talk = LoginTalk::new();
        let end = talk.send(&step(OPERATIONAL), &text(pairs));
        refused(end, &mut talk, status);
    }
}

#[test]
fn a_text_without_a_nul_is_refused() {
    let mut talk = LoginTalk::new();
    let whole = text(&[INITIATOR, TARGET]);
    let end = talk.send(&step(OPERATIONAL), &whole[..whole.len() - 1]);
    refused(end, &mut talk, LoginStatus::INITIATOR_ERROR);
}

#[test]
fn a_text_without_end_is_refused() {
    let mut talk = LoginTalk::new();
    let part = LoginRequest { continued: true, transit: false, ..step(OPERATIONAL) };
    for _ in 0..2 {
        assert_eq!(talk.send(&part, &[b'a'; 8192]), LoginStep::ReadMore);
        talk.response();
    }
    let end = talk.send(&part, b"a");
    refused(end, &mut talk, LoginStatus::INITIATOR_ERROR);
}

#[test]
fn a_login_that_does_not_come_to_an_end_is_refused() {
    let mut talk = LoginTalk::new();
    let stay = LoginRequest { transit: false, ..step(OPERATIONAL) };
    talk.send(&stay, &text(&[INITIATOR, TARGET]));
    assert_eq!(talk.serve(), LoginStep::ReadMore);
    talk.response();
    for _ in 1..32 {
        assert_eq!(talk.send(&stay, b""), LoginStep::ReadMore);
        talk.response();
    }
    let end = talk.send(&stay, b"");
    refused(end, &mut talk, LoginStatus::INITIATOR_ERROR);
}

#[test]
fn requests_that_contradict_each_other_are_refused() {
    let stay = LoginRequest { transit: false, ..step(SECURITY) };
    for (later, status) in [
        (LoginRequest { itt: Itt(2), ..stay }, LoginStatus::INITIATOR_ERROR),
        (LoginRequest { isid: Isid([1; 6]), ..stay }, LoginStatus::INITIATOR_ERROR),
        (LoginRequest { tsih: Tsih(7), ..stay }, LoginStatus::INITIATOR_ERROR),
        (LoginRequest { cid: Cid(4), ..stay }, LoginStatus::INITIATOR_ERROR),
        (LoginRequest { current: Stage::Operational, ..stay }, LoginStatus::INVALID_REQUEST),
    ] {
        let mut talk = LoginTalk::new();
        talk.send(&stay, &text(&[INITIATOR, TARGET]));
        assert_eq!(talk.serve(), LoginStep::ReadMore);
        talk.response();
        let end = talk.send(&later, b"");
        refused(end, &mut talk, status);
    }
}

#[test]
fn steps_that_there_are_not_are_refused() {
    let first = step(OPERATIONAL);
    for bad in [
        LoginRequest { current: Stage::FullFeature, ..first },
        LoginRequest { current: Stage::Reserved, ..first },
        LoginRequest { next: Stage::Security, ..first },
        LoginRequest { next: Stage::Operational, ..first },
        LoginRequest { next: Stage::Reserved, ..first },
        LoginRequest { continued: true, ..first },
        LoginRequest { next: Stage::Security, ..step(SECURITY) },
    ] {
        let mut talk = LoginTalk::new();
        let end = talk.send(&bad, &text(&[INITIATOR, TARGET]));
        refused(end, &mut talk, LoginStatus::INVALID_REQUEST);
    }
}

#[test]
fn a_session_has_one_connection_and_one_version() {
    let first = step(OPERATIONAL);
    for (bad, status) in [
        (LoginRequest { tsih: Tsih(7), ..first }, LoginStatus::NO_SUCH_SESSION),
        (
            LoginRequest { version_min: 1, version_max: 2, ..first },
            LoginStatus::UNSUPPORTED_VERSION,
        ),
    ] {
        let mut talk = LoginTalk::new();
        let end = talk.send(&bad, &text(&[INITIATOR, TARGET]));
        refused(end, &mut talk, status);
    }
}

#[test]
fn what_is_no_login_gets_no_answer() {
    let mut talk = LoginTalk::new();
    let end = talk.send_raw(&[0; 48]);
    assert_eq!(end, LoginStep::Refused(Refusal::NotALogin(Opcode::NOP_OUT)));
    assert!(talk.login.output().is_empty());
}

#[test]
fn digests_that_are_demanded_are_had_or_the_login_fails() {
    let offer = Offer { header_digest: DigestPolicy::Always, ..Offer::default() };
    for (key, succeeds) in
        [("HeaderDigest=None,CRC32C", true), ("HeaderDigest=None", false), ("InitialR2T=No", false)]
    {
        let mut talk = LoginTalk::with(offer, SessionLimits::default());
        talk.send(&step(OPERATIONAL), &text(&[INITIATOR, TARGET, key]));
        let end = talk.serve();
        match succeeds {
            true => assert!(matches!(end, LoginStep::Established(_))),
            false => drop(refused(end, &mut talk, LoginStatus::INITIATOR_ERROR)),
        }
    }
}
