//! Which sessions there are: an initiator that logs in again ends its old one (RFC 7143 section 6.3.5).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blockferry_iscsi::{SessionKey, Tsih};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Sessions of one server at one time; each has a handle of 16 bits.
const SESSIONS_MAX: usize = 4096;

/// The sessions of a server.
#[derive(Debug, Default)]
pub struct Sessions {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_handle: HashMap<Tsih, Option<(SessionKey, Lives)>>,
    last: u16,
}

/// A session that is to end, and when it has.
#[derive(Clone, Debug)]
struct Lives {
    replaced: CancellationToken,
    ended: CancellationToken,
}

/// A session's handle, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    sessions: Arc<Sessions>,
    tsih: Tsih,
    replaced: CancellationToken,
    ended: CancellationToken,
    _ends: DropGuard,
}

impl Sessions {
    /// A handle for a session; `None` where there are too many.
    pub(crate) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let mut table = self.lock();
        if table.by_handle.len() >= SESSIONS_MAX {
            return None;
        }
        let tsih = loop {
            table.last = table.last.checked_add(1).unwrap_or(1);
            if !table.by_handle.contains_key(&Tsih(table.last)) {
                break Tsih(table.last);
            }
        };
        table.by_handle.insert(tsih, None);
        let (replaced, ended) = (CancellationToken::new(), CancellationToken::new());
        let ends = ended.clone().drop_guard();
        Some(Seat { sessions: Arc::clone(self), tsih, replaced, ended, _ends: ends })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub(crate) const fn tsih(&self) -> Tsih {
        self.tsih
    }

    /// Takes the place of a session with the same key, once that has ended.
    pub(crate) async fn establish(&self, key: SessionKey) {
        let lives = Lives { replaced: self.replaced.clone(), ended: self.ended.clone() };
        let older: Vec<Lives> = {
            let mut table = self.sessions.lock();
            let same = table.by_handle.values().flatten().filter(|(known, _)| *known == key);
            let older = same.map(|(_, lives)| lives.clone()).collect();
            table.by_handle.insert(self.tsih, Some((key, lives)));
            older
        };
        for session in older {
            session.replaced.cancel();
            session.ended.cancelled().await;
        }
    }

    /// Cancelled when another session has taken this one's place.
    pub(crate) const fn replaced(&self) -> &CancellationToken {
        &self.replaced
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sessions.lock().by_handle.remove(&self.tsih);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use blockferry_iscsi::{IscsiName, Isid};
    use futures_util::poll;

    use super::*;

    fn key(isid: u8) -> SessionKey {
        let name = |name| IscsiName::parse(name).expect("a name");
        SessionKey {
            initiator: name("iqn.2026-01.test:a"),
            isid: Isid([isid; 6]),
            target: Some(name("iqn.2026-01.test:vol")),
            ..crate::testing::session().key().clone()
        }
    }

    #[tokio::test]
    async fn an_initiator_that_logs_in_again_waits_until_its_old_session_has_ended() {
        let sessions = Arc::<Sessions>::default();
        let (old, new) = (sessions.seat().unwrap(), sessions.seat().unwrap());
        old.establish(key(1)).await;
        let mut established = pin!(new.establish(key(1)));
        assert!(poll!(established.as_mut()).is_pending());
        assert!(old.replaced().is_cancelled());
        drop(old);
        assert!(poll!(established.as_mut()).is_ready());
        assert!(!new.replaced().is_cancelled());
    }

    #[tokio::test]
    async fn sessions_of_others_stand() {
        let sessions = Arc::<Sessions>::default();
        let (one, other) = (sessions.seat().unwrap(), sessions.seat().unwrap());
        one.establish(key(1)).await;
        assert!(poll!(pin!(other.establish(key(2)))).is_ready());
        assert!(!one.replaced().is_cancelled());
    }

    #[test]
    fn no_two_sessions_have_a_handle_at_a_time_and_none_has_zero() {
        let sessions = Arc::<Sessions>::default();
        sessions.lock().last = u16::MAX - 1;
        let seats: Vec<_> = (0..3).map(|_| sessions.seat().unwrap()).collect();
        let handles: Vec<_> = seats.iter().map(Seat::tsih).collect();
        assert_eq!(handles, [Tsih(u16::MAX), Tsih(1), Tsih(2)]);
        sessions.lock().last = u16::MAX;
        assert_eq!(sessions.seat().unwrap().tsih(), Tsih(3));
    }

    #[test]
    fn sessions_beyond_the_limit_have_no_handle_until_one_has_ended() {
        let sessions = Arc::<Sessions>::default();
        let mut seats: Vec<_> = (0..SESSIONS_MAX).map(|_| sessions.seat().unwrap()).collect();
        assert!(sessions.seat().is_none());
        seats.pop();
        assert!(sessions.seat().is_some());
    }
}
