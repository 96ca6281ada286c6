use proptest::prelude::*;

use super::*;
use crate::digest::Digests;

fn normal() -> Negotiation {
    Negotiation::new(Offer::default(), SessionType::Normal)
}

fn answer(negotiation: &mut Negotiation, key: &str, value: &str) -> Option<String> {
    match negotiation.offered(key, value) {
        Outcome::Agreed(value) => Some(value),
        Outcome::Refused(word) => Some(word.to_owned()),
        Outcome::Declared => None,
    }
}

/// Key, offered value, answer; with the default offer of the target.
const TABLE: &[(&str, &str, &str)] = &[
    ("HeaderDigest", "None", "None"),
    ("HeaderDigest", "CRC32C,None", "CRC32C"),
    ("HeaderDigest", "None,CRC32C", "None"),
    ("DataDigest", "X-other,CRC32C", "CRC32C"),
    ("DataDigest", "X-other", "Reject"),
    ("MaxConnections", "1", "1"),
    ("MaxConnections", "8", "1"),
    ("MaxConnections", "0", "Reject"),
    ("MaxConnections", "65536", "Reject"),
    ("InitialR2T", "No", "No"),
    ("InitialR2T", "Yes", "Yes"),
    ("InitialR2T", "yes", "Reject"),
    ("ImmediateData", "Yes", "Yes"),
    ("ImmediateData", "No", "No"),
    ("MaxBurstLength", "16776192", "1048576"),
    ("MaxBurstLength", "262144", "262144"),
    ("MaxBurstLength", "0x40000", "262144"),
    ("MaxBurstLength", "511", "Reject"),
    ("MaxBurstLength", "16777216", "Reject"),
    ("FirstBurstLength", "65536", "65536"),
    ("FirstBurstLength", "16777215", "262144"),
    ("DefaultTime2Wait", "2", "2"),
    ("DefaultTime2Wait", "3601", "Reject"),
    ("DefaultTime2Retain", "20", "0"),
    ("MaxOutstandingR2T", "1", "1"),
    ("MaxOutstandingR2T", "16", "4"),
    ("DataPDUInOrder", "No", "Yes"),
    ("DataSequenceInOrder", "No", "Yes"),
    ("ErrorRecoveryLevel", "2", "0"),
    ("ErrorRecoveryLevel", "3", "Reject"),
    ("IFMarker", "Yes", "No"),
    ("OFMarker", "No", "No"),
    ("IFMarkInt", "2048~8192", "Reject"),
    ("iSCSIProtocolLevel", "2", "1"),
    ("iSCSIProtocolLevel", "0", "0"),
    ("TaskReporting", "FastAbort,RFC3720", "RFC3720"),
    ("TaskReporting", "FastAbort", "Reject"),
    ("X-com.example.key", "1", "NotUnderstood"),
    ("X#NodeArchitecture", "x86", "NotUnderstood"),
    ("headerdigest", "None", "NotUnderstood"),
    ("RDMAExtensions", "Yes", "NotUnderstood"),
];

#[test]
fn every_key_is_answered_as_the_rfc_has_it() {
    for (key, value, expected) in TABLE {
        let answered = answer(&mut normal(), key, value);
        assert_eq!(answered.as_deref(), Some(*expected), "{key}={value}");
    }
}

#[test]
fn the_initiators_segment_length_is_declared_and_not_answered() {
    let mut negotiation = normal();
    assert_eq!(answer(&mut negotiation, "MaxRecvDataSegmentLength", "65536"), None);
    assert_eq!(negotiation.parameters().initiator_segment_max, 65_536);
    let refused = answer(&mut negotiation, "MaxRecvDataSegmentLength", "100");
    assert_eq!(refused.as_deref(), Some("Reject"));
    assert_eq!(negotiation.parameters().initiator_segment_max, 65_536);
}

#[test]
fn what_is_answered_is_what_holds() {
    let mut negotiation = normal();
    for (key, value) in [
        ("HeaderDigest", "CRC32C"),
        ("InitialR2T", "No"),
        ("ImmediateData", "No"),
        ("MaxBurstLength", "4096"),
        ("FirstBurstLength", "1024"),
        ("MaxOutstandingR2T", "2"),
        ("DefaultTime2Wait", "3"),
        ("DefaultTime2Retain", "9"),
    ] {
        negotiation.offered(key, value);
    }
    assert_eq!(negotiation.declare(), "262144");
    let expected = Parameters {
        digests: Digests { header: true, data: false },
        initial_r2t: false,
        immediate_data: false,
        initiator_segment_max: 8192,
        target_segment_max: 262_144,
        max_burst: 4096,
        first_burst: 1024,
        max_outstanding_r2t: 2,
        time2wait: 3,
        time2retain: 0,
    };
    assert_eq!(negotiation.parameters(), expected);
}

#[test]
fn a_discovery_session_has_no_use_for_the_keys_of_commands() {
    let mut negotiation = Negotiation::new(Offer::default(), SessionType::Discovery);
    for key in ["MaxConnections", "InitialR2T", "MaxBurstLength", "DataPDUInOrder"] {
        assert_eq!(answer(&mut negotiation, key, "1").as_deref(), Some("Irrelevant"));
    }
    assert_eq!(answer(&mut negotiation, "HeaderDigest", "None").as_deref(), Some("None"));
    assert_eq!(answer(&mut negotiation, "ErrorRecoveryLevel", "0").as_deref(), Some("0"));
}

#[test]
fn digests_that_are_demanded_are_missed_where_they_are_not_agreed_on() {
    let offer = Offer {
        header_digest: DigestPolicy::Always,
        data_digest: DigestPolicy::Never,
        ..Offer::default()
    };
    let mut negotiation = Negotiation::new(offer, SessionType::Normal);
    assert!(negotiation.lacks_digests());
    assert_eq!(answer(&mut negotiation, "HeaderDigest", "None").as_deref(), Some("Reject"));
    assert_eq!(answer(&mut negotiation, "DataDigest", "CRC32C").as_deref(), Some("Reject"));
    let agreed = answer(&mut negotiation, "HeaderDigest", "None,CRC32C");
    assert_eq!(agreed.as_deref(), Some("CRC32C"));
    assert!(!negotiation.lacks_digests());
}

#[test]
fn an_offer_is_brought_within_the_bounds_of_its_keys() {
    let offer = Offer {
        segment_max: 0,
        max_burst: u32::MAX,
        first_burst: u32::MAX,
        max_outstanding_r2t: 0,
        time2wait: u16::MAX,
        ..Offer::default()
    };
    let offer = offer.within_bounds();
    assert_eq!((offer.segment_max, offer.max_burst), (512, SEGMENT_BYTES_MAX));
    assert_eq!((offer.first_burst, offer.max_outstanding_r2t), (SEGMENT_BYTES_MAX, 1));
    assert_eq!(offer.time2wait, 3600);
}

proptest! {
    #[test]
    fn any_value_leaves_parameters_within_their_bounds(
        row in 0..TABLE.len(), value in "[0-9]{1,12}|0x[0-9a-f]{0,9}|Yes|No|.*",
    ) {
        let mut negotiation = normal();
        negotiation.offered(TABLE[row].0, &value);
        let held = negotiation.parameters();
        prop_assert!((512..=SEGMENT_BYTES_MAX).contains(&held.initiator_segment_max));
        prop_assert!((512..=1 << 20).contains(&held.max_burst));
        prop_assert!((512..=262_144).contains(&held.first_burst));
        prop_assert!((1..=4).contains(&held.max_outstanding_r2t));
        prop_assert!(held.time2wait <= 3600 && held.time2retain <= 3600);
    }
}
