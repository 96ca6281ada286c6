//! Nexuses: the sessions through which initiators reach the unit, and what waits for each.

use std::collections::BTreeMap;
use std::fmt;

use crate::attention::Attentions;
use crate::codes::SenseCode;
use crate::limits::NEXUSES_MAX;
use crate::port::InitiatorPort;

/// The server's own number of a session. Never used again for another session of the same unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NexusId(pub u64);

impl fmt::Display for NexusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why a session cannot use the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The server has used the number already.
    #[error("nexus {0} is connected already")]
    Connected(NexusId),
    /// Too many sessions.
    #[error("the unit serves {NEXUSES_MAX} sessions already; log one of them out")]
    TooMany,
}

/// One session.
#[derive(Clone, Debug)]
pub(crate) struct Nexus {
    pub(crate) port: InitiatorPort,
    pub(crate) attentions: Attentions,
}

/// All sessions of a unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nexuses(BTreeMap<NexusId, Nexus>);

impl Nexuses {
    /// A new session, which is told that it is new.
    pub(crate) fn connect(&mut self, id: NexusId, port: InitiatorPort) -> Result<(), ConnectError> {
        if self.0.contains_key(&id) {
            return Err(ConnectError::Connected(id));
        }
        if self.0.len() >= NEXUSES_MAX {
            return Err(ConnectError::TooMany);
        }
        let mut attentions = Attentions::default();
        attentions.reset(SenseCode::POWER_ON_OR_RESET);
        self.0.insert(id, Nexus { port, attentions });
        Ok(())
    }

    pub(crate) fn disconnect(&mut self, id: NexusId) {
        self.0.remove(&id);
    }

    pub(crate) fn get(&self, id: NexusId) -> Option<&Nexus> {
        self.0.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: NexusId) -> Option<&mut Nexus> {
        self.0.get_mut(&id)
    }

    /// Tells every session but one.
    pub(crate) fn attend_others(&mut self, than: NexusId, code: SenseCode) {
        let others = self.0.iter_mut().filter(|(id, _)| **id != than);
        others.for_each(|(_, nexus)| nexus.attentions.push(code));
    }

    /// Tells every session of a port.
    pub(crate) fn attend_port(&mut self, port: &InitiatorPort, code: SenseCode) {
        let of_port = self.0.values_mut().filter(|nexus| nexus.port == *port);
        of_port.for_each(|nexus| nexus.attentions.push(code));
    }

    /// Tells every session of a reset; nothing older matters to it any more.
    pub(crate) fn reset(&mut self, code: SenseCode) {
        self.0.values_mut().for_each(|nexus| nexus.attentions.reset(code));
    }

    /// The sessions of some ports, in the order of their numbers.
    pub(crate) fn of_ports(&self, ports: &[InitiatorPort]) -> Vec<NexusId> {
        let of_ports = self.0.iter().filter(|(_, nexus)| ports.contains(&nexus.port));
        of_ports.map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> InitiatorPort {
        InitiatorPort::iscsi("iqn.2026-01.test:a", [0; 6]).unwrap()
    }

    #[test]
    fn a_number_cannot_be_connected_twice() {
        let mut nexuses = Nexuses::default();
        assert_eq!(nexuses.connect(NexusId(1), port()), Ok(()));
        let again = nexuses.connect(NexusId(1), port());
        assert_eq!(again, Err(ConnectError::Connected(NexusId(1))));
        nexuses.disconnect(NexusId(1));
        assert_eq!(nexuses.connect(NexusId(1), port()), Ok(()));
    }

    #[test]
    fn sessions_beyond_the_limit_are_refused() {
        let mut nexuses = Nexuses::default();
        for id in 0..NEXUSES_MAX as u64 {
            assert_eq!(nexuses.connect(NexusId(id), port()), Ok(()));
        }
        let beyond = nexuses.connect(NexusId(NEXUSES_MAX as u64), port());
        assert_eq!(beyond, Err(ConnectError::TooMany));
    }
}
