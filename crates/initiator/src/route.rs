//! Where an initiator logs in next.
//!
//! It stays with the portal that is its own. A permanent move gives it another one; a temporary move sends
//! it elsewhere for one session. Where a login fails it tries the portals that it knows, one after the other:
//! among them every one that it was sent to.

use blockferry_iscsi::PortalAddress;

#[derive(Debug)]
pub(crate) struct Route {
    known: Vec<PortalAddress>,
    own: usize,
    next: usize,
}

impl Route {
    /// # Panics
    /// Without a portal.
    pub(crate) fn new(portals: &[PortalAddress]) -> Self {
        assert!(!portals.is_empty(), "an initiator knows a portal");
        Self { known: portals.to_vec(), own: 0, next: 0 }
    }

    pub(crate) fn next(&self) -> &PortalAddress {
        &self.known[self.next]
    }

    pub(crate) fn moved(&mut self, to: PortalAddress, permanently: bool) {
        let place = self.known.iter().position(|known| *known == to);
        self.next = place.unwrap_or_else(|| {
            self.known.push(to);
            self.known.len() - 1
        });
        if permanently {
            self.own = self.next;
        }
    }

    pub(crate) fn failed(&mut self) {
        self.next = (self.next + 1) % self.known.len();
    }

    /// The session has ended, for whatever reason.
    pub(crate) const fn lost(&mut self) {
        self.next = self.own;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permanent_move_is_remembered_and_a_temporary_one_holds_for_one_session() {
        let portal = |port| PortalAddress::new("127.0.0.1", port).unwrap();
        let mut route = Route::new(&[portal(1)]);
        route.moved(portal(2), false);
        assert_eq!(*route.next(), portal(2));
        route.lost();
        assert_eq!(*route.next(), portal(1));
        route.failed();
        assert_eq!(*route.next(), portal(2));
        route.moved(portal(3), true);
        route.lost();
        assert_eq!(*route.next(), portal(3));
        route.failed();
        assert_eq!(*route.next(), portal(1));
    }
}
