//! How initiators are told that their volume has moved.
//!
//! Who takes a move for permanent goes to the new place by itself from then on, also after its connection
//! was lost, and needs the old one no more. Some initiators follow a temporary move only, libiscsi's
//! among them: they show it by coming back at once. Linux's (open-iscsi, 2.1.8 at least) follows either, and
//! comes back after each loss of its connection whatever it was told.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use blockferry_iscsi::{Inquiry, IscsiName, PortalAddress, Refusal};

/// Who comes back within this time has not followed.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(120);

/// So many initiators are remembered at most.
const REMEMBERED_MAX: usize = 1024;

/// Who was told of a permanent move, and when.
#[derive(Debug, Default)]
pub(crate) struct Redirects {
    told: Mutex<HashMap<IscsiName, Instant>>,
}

impl Redirects {
    /// What an initiator is told whose target is at the portal now.
    pub(crate) fn tell(&self, who: &Inquiry, portal: PortalAddress) -> Refusal {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < COMES_BACK_WITHIN);
        if told.len() < REMEMBERED_MAX && told.insert(who.initiator.clone(), now).is_none() {
            return Refusal::MovedPermanently(portal);
        }
        Refusal::MovedTemporarily(portal)
    }
}

#[cfg(test)]
mod tests {
    use blockferry_iscsi::Isid;

    use super::*;

    /// Some have another ISID each time.
    fn who(name: &str, isid: u8) -> Inquiry {
        let initiator = IscsiName::parse(name).unwrap();
        Inquiry { initiator, alias: None, target: None, isid: Isid([isid; 6]) }
    }

    #[test]
    fn an_initiator_that_does_not_follow_a_permanent_move_is_sent_there_for_now() {
        let redirects = Redirects::default();
        let portal: PortalAddress = "192.0.2.1:3260".parse().unwrap();
        let permanently = Refusal::MovedPermanently(portal.clone());
        let temporarily = Refusal::MovedTemporarily(portal.clone());
        let tell = |name, isid| redirects.tell(&who(name, isid), portal.clone());
        assert_eq!(tell("iqn.2026-01.test:one", 1), permanently);
        assert_eq!(tell("iqn.2026-01.test:other", 1), permanently);
        assert_eq!(tell("iqn.2026-01.test:one", 2), temporarily);
        assert_eq!(tell("iqn.2026-01.test:one", 3), temporarily);
    }
}
