//! The unanswered requests of one client connection, with their data, in order of arrival.

use std::collections::BTreeMap;
use std::time::Instant;

use blockferry_block::Generation;
use blockferry_device::Request;

/// A request's number on its path, in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

/// Where an unanswered request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// Here; no server has it.
    Held,
    /// On the link of this generation.
    Sent(Generation),
    /// It went out on a link that is gone: a server may still execute it.
    Stranded,
    /// As `Stranded`, but nobody waits for its answer any more.
    Ghost,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) request: Request,
    pub(crate) place: Place,
    pub(crate) arrived: Instant,
}

/// See the module. Its size is bounded by what the session takes from one client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Table {
    next: u64,
    entries: BTreeMap<RequestId, Entry>,
}

impl Table {
    pub(crate) fn add(&mut self, request: Request, place: Place, arrived: Instant) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        self.entries.insert(id, Entry { request, place, arrived });
        id
    }

    pub(crate) fn get_mut(&mut self, id: RequestId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    pub(crate) fn place(&self, id: RequestId) -> Option<Place> {
        self.entries.get(&id).map(|entry| entry.place)
    }

    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Entry> {
        self.entries.remove(&id)
    }

    /// The requests of which the place is one of those wanted, in order of arrival.
    pub(crate) fn find(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<RequestId> {
        self.entries.iter().filter(|(_, entry)| wanted(entry)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn any(&self, wanted: impl Fn(&Entry) -> bool) -> bool {
        self.entries.values().any(wanted)
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Entry) -> bool) -> usize {
        self.entries.values().filter(|entry| wanted(entry)).count()
    }

    /// When the oldest of the requests wanted arrived.
    pub(crate) fn oldest(&self, wanted: impl Fn(&Entry) -> bool) -> Option<Instant> {
        self.entries.values().find(|entry| wanted(entry)).map(|entry| entry.arrived)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    /// Whether a client waits for it and no server works on it.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.place, Place::Held | Place::Stranded)
    }

    /// Whether it was answered while an older copy of it may still execute.
    pub(crate) fn is_ghost(&self) -> bool {
        self.place == Place::Ghost
    }

    /// Whether an older copy of it may still change the volume: sending it again, or sending a
    /// newer write to the same blocks, needs a fence first (I13).
    pub(crate) fn needs_fence(&self) -> bool {
        matches!(self.place, Place::Stranded | Place::Ghost) && self.request.is_write()
    }
}
