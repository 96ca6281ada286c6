//! The clients: each has one request under way at most.

use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::place::{Content, WRITTEN};
use crate::request::{Unanswered, Verb};
use crate::world::World;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// The request that was sent and is not answered.
    pub unanswered: Option<Unanswered>,
    /// Whether a server has it.
    pub sent: bool,
    /// Where it was split before it was recorded (a broken rule).
    pub split_at: Option<u64>,
}

impl World {
    /// Whether the client would send something new now. Before the first request all clients are the
    /// same one.
    pub(crate) fn may_request(&self, client: u8) -> bool {
        let idle = self.clients[usize::from(client)].unanswered.is_none();
        let first = client == 0 || self.requests > 0;
        idle && first && self.requests < self.scope.requests
    }

    /// The client sends what stands in the menu.
    pub(crate) fn request(&mut self, client: u8, choice: usize) {
        let mut request = self.scope.menu[choice];
        if matches!(request.verb, Verb::Write | Verb::WriteFua) {
            request.value = WRITTEN + self.requests;
        }
        self.requests += 1;
        let others = self.clients.iter_mut().filter_map(|client| client.unanswered.as_mut());
        let unanswered = self.registers.begin(request, others);
        self.clients[usize::from(client)] =
            Client { unanswered: Some(unanswered), ..Client::default() };
        if !self.breaks(Mutant::SplitTooEarly) {
            self.send(client);
        } else {
            let cursor = self.source.machine.sweep().map(|sweep| sweep.read_cursor());
            self.clients[usize::from(client)].split_at = cursor;
        }
    }

    /// Whether the client's request has to be sent (again).
    pub(crate) fn may_send(&self, client: u8) -> bool {
        let client = &self.clients[usize::from(client)];
        client.unanswered.is_some() && !client.sent
    }

    /// The client's request arrives at the source.
    pub(crate) fn send(&mut self, client: u8) {
        let Some(unanswered) = &self.clients[usize::from(client)].unanswered else { return };
        let request = unanswered.request;
        if request.verb == Verb::Flush {
            return self.flush_source(client);
        }
        self.clients[usize::from(client)].sent = true;
        self.admit_update(client, request);
    }

    fn flush_source(&mut self, client: u8) {
        self.source.disk.flush(crate::place::Span::AB);
        self.answer_client(client, true, Content::default());
    }

    /// The client's request is answered.
    pub(crate) fn answer_client(&mut self, client: u8, ok: bool, read: Content) {
        let Some(unanswered) = self.clients[usize::from(client)].unanswered.take() else { return };
        self.clients[usize::from(client)] = Client::default();
        if ok {
            let possible = self.registers.end(&unanswered, read);
            self.broken.unless(possible, Invariant::I15);
        }
    }
}
