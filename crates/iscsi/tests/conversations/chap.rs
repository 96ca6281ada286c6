use blockferry_iscsi::pdu::{LoginRequest, LoginStatus, Stage};
use blockferry_iscsi::{Account, Admission, Challenge, Chap, LoginStep, Secret, Tsih};

use crate::talk::{INITIATOR, LoginTalk, TARGET, request, text};

const SECRET: &[u8] = b"initiator-secret";
const OWN_SECRET: &[u8] = b"the-target-secret";
const CHALLENGE: [u8; 32] = [0x5a; 32];

fn admission(mutual: bool) -> Admission {
    let account = |name: &str, secret: &[u8]| Account {
        name: name.to_owned(),
        secret: Secret::new(secret).unwrap(),
    };
    let own = mutual.then(|| account("target", OWN_SECRET));
    let challenge = Challenge { identifier: 200, bytes: CHALLENGE };
    // A name that looks like a number is a name all the same.
    let chap = Chap::new(vec![account("0xuser", SECRET)], own, challenge).unwrap();
    Admission::Serve { tsih: Tsih(7), chap: Some(chap) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02X}"))
}

fn next() -> LoginRequest {
    request(Stage::Security, Stage::Operational)
}

fn stay() -> LoginRequest {
    LoginRequest { transit: false, ..next() }
}

/// The login up to the challenge.
fn challenged(mutual: bool) -> LoginTalk {
    let mut talk = LoginTalk::new();
    talk.send(&next(), &text(&[INITIATOR, TARGET, "AuthMethod=CHAP,None"]));
    assert_eq!(talk.login.answer(admission(mutual)), LoginStep::ReadMore);
    let (response, pairs) = talk.response();
    assert!(!response.transit, "the stage goes on until there is a proof");
    assert_eq!(pairs, ["TargetPortalGroupTag=1", "AuthMethod=CHAP"]);
    assert_eq!(talk.send(&stay(), &text(&["CHAP_A=6,5,7"])), LoginStep::ReadMore);
    let question = ["CHAP_A=5".to_owned(), "CHAP_I=200".to_owned(), challenge_as_text()];
    assert_eq!(talk.response().1, question);
    talk
}

fn challenge_as_text() -> String {
    format!("CHAP_C={}", hex(&CHALLENGE).to_lowercase())
}

fn proof() -> String {
    format!("CHAP_R={}", hex(&Secret::new(SECRET).unwrap().respond(200, &CHALLENGE)))
}

fn assert_refused(step: &LoginStep) {
    let LoginStep::Refused(refusal) = step else { panic!("{step:?}") };
    assert_eq!(refusal.status(), Some(LoginStatus::AUTHENTICATION_FAILED), "{refusal}");
}

#[test]
fn the_right_secret_is_let_in() {
    let mut talk = challenged(false);
    assert_eq!(talk.send(&next(), &text(&["CHAP_N=0xuser", &proof()])), LoginStep::ReadMore);
    assert!(talk.response().0.transit);
    let step = talk.send(&request(Stage::Operational, Stage::FullFeature), b"");
    let LoginStep::Established(established) = step else { panic!("{step:?}") };
    assert_eq!(established.account.as_deref(), Some("0xuser"));
}

#[test]
fn the_target_proves_itself_to_who_asks() {
    let mut talk = challenged(true);
    let answers = ["CHAP_N=0xuser", &proof(), "CHAP_I=3", "CHAP_C=0b3q2+7w=="];
    assert_eq!(talk.send(&next(), &text(&answers)), LoginStep::ReadMore);
    let own = Secret::new(OWN_SECRET).unwrap().respond(3, &[0xde, 0xad, 0xbe, 0xef]);
    let expected = format!("CHAP_R={}", hex(&own).to_lowercase());
    assert_eq!(talk.response().1, ["CHAP_N=target", &expected]);
}

#[test]
fn every_other_answer_is_refused() {
    let wrong = format!("CHAP_R={}", hex(&[0; 16]));
    let reflected = challenge_as_text();
    let proof = proof();
    let table: [&[&str]; 8] = [
        &["CHAP_N=0xuser", &wrong],
        &["CHAP_N=other", &proof],
        &["CHAP_N=0xuser"],
        &[&proof],
        &[],
        &["CHAP_N=0xuser", &proof, "CHAP_I=3"],
        &["CHAP_N=0xuser", &proof, "CHAP_I=3", &reflected],
        &["CHAP_N=0xuser", &proof, "CHAP_I=999", "CHAP_C=0x01"],
    ];
    for answers in table {
        let mut talk = challenged(true);
        assert_refused(&talk.send(&next(), &text(answers)));
    }
    let mut talk = challenged(false);
    let asks = ["CHAP_N=0xuser", &proof, "CHAP_I=3", "CHAP_C=0x01"];
    assert_refused(&talk.send(&next(), &text(&asks)));
}

#[test]
fn algorithms_that_are_not_spoken_are_refused() {
    for offered in ["CHAP_A=7", "CHAP_A=56", "CHAP_A=", "CHAP_N=0xuser"] {
        let mut talk = LoginTalk::new();
        talk.send(&next(), &text(&[INITIATOR, TARGET, "AuthMethod=CHAP"]));
        talk.login.answer(admission(false));
        assert_refused(&talk.send(&stay(), &text(&[offered])));
    }
}

#[test]
fn nobody_gets_past_the_question() {
    for pairs in [
        &[INITIATOR, TARGET, "AuthMethod=None"][..],
        &[INITIATOR, TARGET, "AuthMethod=KRB5"],
        &[INITIATOR, TARGET],
    ] {
        let mut talk = LoginTalk::new();
        talk.send(&next(), &text(pairs));
        assert_refused(&talk.login.answer(admission(false)));
    }
    for transit in [true, false] {
        let mut talk = LoginTalk::new();
        let skips = request(Stage::Operational, Stage::FullFeature);
        let skips = LoginRequest { transit, ..skips };
        talk.send(&skips, &text(&[INITIATOR, TARGET]));
        assert_refused(&talk.login.answer(admission(false)));
    }
}

#[test]
fn a_proof_is_given_once() {
    let mut talk = challenged(false);
    talk.send(&stay(), &text(&["CHAP_N=0xuser", &proof()]));
    assert_refused(&talk.send(&next(), &text(&["AuthMethod=None"])));
}

#[test]
fn who_offers_only_chap_is_refused_where_nobody_is_asked() {
    let mut talk = LoginTalk::new();
    talk.send(&next(), &text(&[INITIATOR, TARGET, "AuthMethod=CHAP"]));
    assert_refused(&talk.serve());
}
