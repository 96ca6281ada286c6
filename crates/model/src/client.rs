//! The clients: each has one request under way at most, at the source itself or through a switch.

use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::operation::Origin;
use crate::path::PathEnd;
use crate::place::{Content, WRITTEN};
use crate::request::{Request, Unanswered, Verb};
use crate::wire::Session;
use crate::world::World;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// The request that was sent and is not answered.
    pub unanswered: Option<Unanswered>,
    /// Whether the source has it.
    pub sent: bool,
    /// Where it was split before it was recorded (a broken rule).
    pub split_at: Option<u64>,
    /// The switch's path for the client.
    pub path: Option<PathEnd>,
    /// The last update that was answered, where an answered one is sent again (a broken rule).
    pub last: Option<Request>,
}

impl World {
    /// All requests without an answer.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = &Unanswered> {
        let clients = self.clients.iter().filter_map(|client| client.unanswered.as_ref());
        clients.chain(&self.abandoned)
    }

    /// Whether the client would send something new now. Before the first request all clients are the
    /// same one.
    pub(crate) fn may_request(&self, client: u8, request: Request) -> bool {
        let idle = self.clients[usize::from(client)].unanswered.is_none();
        let first = client == 0 || self.requests > 0;
        // The switch holds a write back while an earlier one that it overlaps is unanswered; one that
        // waits there is as if it had not been sent.
        let mut others = self.clients.iter().filter_map(|client| client.unanswered.as_ref());
        let turn = !self.scope.switch || !others.any(|of| of.request.conflicts(request));
        idle && first && turn && self.requests < self.scope.requests
    }

    /// The client sends what stands in the menu.
    pub(crate) fn request(&mut self, client: u8, choice: usize) {
        let mut request = self.scope.menu[choice];
        if matches!(request.verb, Verb::Write | Verb::WriteFua) {
            request.value = WRITTEN + self.requests;
        }
        request.serial = self.requests;
        self.requests += 1;
        let others = self.clients.iter_mut().filter_map(|client| client.unanswered.as_mut());
        let others = others.chain(&mut self.abandoned);
        let unanswered = self.registers.begin(request, others);
        let of = &mut self.clients[usize::from(client)];
        of.unanswered = Some(unanswered);
        if let Some(path) = &of.path {
            let session = path.session;
            if request.verb == Verb::Flush && self.breaks(Mutant::FlushByProxy) {
                return self.answer_client(client, true, Content::default());
            }
            return self.enter_path(session, request);
        }
        if self.breaks(Mutant::SplitTooEarly) {
            let cursor = self.source.machine.sweep().map(|sweep| sweep.read_cursor());
            self.clients[usize::from(client)].split_at = cursor;
        } else {
            self.send(client);
        }
    }

    /// Where the client's update was split before it was recorded.
    pub(crate) fn split_too_early(&self, client: u8) -> Option<u64> {
        self.clients[usize::from(client)].split_at
    }

    /// Whether the client's request has to be sent to the source (again).
    pub(crate) fn may_send(&self, client: u8) -> bool {
        let client = &self.clients[usize::from(client)];
        client.unanswered.is_some() && !client.sent && client.path.is_none()
    }

    /// The client's request arrives at the source.
    pub(crate) fn send(&mut self, client: u8) {
        let of = &mut self.clients[usize::from(client)];
        if let Some(unanswered) = &of.unanswered {
            let request = unanswered.request;
            of.sent = true;
            self.begin_request(Origin::Client(client), request);
        }
    }

    /// The request of a session is answered.
    pub(crate) fn answer_session(&mut self, session: Session, ok: bool, read: Content) {
        let is_it = |of: &Client| of.path.as_ref().is_some_and(|path| path.session == session);
        if let Some(client) = self.clients.iter().position(is_it) {
            self.answer_client(client as u8, ok, read);
        }
    }

    /// The client's request is answered.
    pub(crate) fn answer_client(&mut self, client: u8, ok: bool, read: Content) {
        let replays = self.breaks(Mutant::ReplayAnswered);
        let of = &mut self.clients[usize::from(client)];
        let Some(unanswered) = of.unanswered.take() else { return };
        (of.sent, of.split_at) = (false, None);
        of.last = Some(unanswered.request).filter(|request| replays && request.is_update());
        if ok {
            let possible = self.registers.end(&unanswered, read);
            self.broken.unless(possible, Invariant::I15);
        } else {
            self.broken.unless(self.scope.faults.errors > 0, Invariant::Errors);
        }
    }
}
