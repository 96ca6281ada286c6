//! An initiator's bytes to our target, from the first on.

use blockferry_iscsi::{
    Account, Admission, Challenge, Chap, Decoder, Inquiry, Login, LoginStep, Offer, PortalAddress,
    PortalGroup, Refusal, Secret, SessionLimits, Tsih,
};

use crate::pieces::feed;

/// An initiator's bytes; the first one says whether a secret is asked for.
pub fn iscsi_login(data: &[u8]) {
    let Some((variant, data)) = data.split_first() else { return };
    let whole = login(*variant, data, None);
    let cut = login(*variant, data, Some(1 + data.len() % 7));
    assert_eq!(whole, cut);
    if let Some(LoginStep::Established(established)) = whole.1 {
        assert_eq!(established.account.is_some(), asks(*variant));
        assert!(established.parameters.initiator_segment_max >= 512);
        assert!(established.parameters.max_burst >= 512);
    }
}

fn login(variant: u8, data: &[u8], length: Option<usize>) -> (Vec<u8>, Option<LoginStep>) {
    let mut login = Login::new(Offer::default(), PortalGroup(1), SessionLimits::default());
    let mut decoder = Decoder::new();
    let end = feed(data, length, |input| {
        loop {
            let Ok(pdu) = decoder.decode(input) else { return Some(LoginStep::ReadMore) };
            let mut step = login.handle(&pdu?);
            if let LoginStep::Ask(inquiry) = &step {
                step = login.answer(admission(variant, inquiry));
            }
            if step != LoginStep::ReadMore {
                return Some(step);
            }
        }
    });
    (login.output().pieces().collect::<Vec<_>>().concat(), end)
}

const fn asks(variant: u8) -> bool {
    variant & 1 != 0
}

fn admission(variant: u8, inquiry: &Inquiry) -> Admission {
    let target = inquiry.target.as_ref().map_or("", |target| target.as_str());
    if target.ends_with(":moved") {
        let address = PortalAddress::new("192.0.2.1", 3260).expect("an address");
        return Admission::Refuse(Refusal::MovedTemporarily(address));
    }
    if !target.is_empty() && !target.ends_with(":vol") {
        return Admission::Refuse(Refusal::NotFound);
    }
    Admission::Serve { tsih: Tsih(7), chap: asks(variant).then(chap) }
}

fn chap() -> Chap {
    let account = |name: &str, secret: &[u8]| Account {
        name: name.to_owned(),
        secret: Secret::new(secret).expect("a strong secret"),
    };
    let challenge = Challenge { identifier: 1, bytes: [7; 32] };
    let own = Some(account("target", b"the-target-secret"));
    Chap::new(vec![account("user", b"initiator-secret")], own, challenge).expect("two secrets")
}
