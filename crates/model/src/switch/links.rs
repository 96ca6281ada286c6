//! Links of paths: opened, fenced, lost.

use blockferry_path::machine::Work;

use super::End;
use crate::action::Action;
use crate::mutant::Mutant;
use crate::operation::Way;
use crate::path::{Host, PathEnd};
use crate::place::Content;
use crate::skip::Skip;
use crate::wire::{Call, PathGeneration, Sender, Session};
use crate::world::World;

impl World {
    /// A storage program goes down, and every link to it is lost. The last that it says is that it
    /// does, which is no answer to anything.
    pub(crate) fn host_lost(&mut self, host: Host) {
        let tells = self.breaks(Mutant::ShutdownForwarded);
        let lost: Vec<Call> = self.wire.calls.extract_if(.., |call| call.to == host).collect();
        for call in lost.iter().filter(|call| call.way.live) {
            let end = (call.by, call.session, call.generation);
            let Way { link, id, .. } = call.way;
            if tells {
                self.path_answers(end, link, *id, false, Content::default());
            } else {
                self.at_path(end, |path| path.refused(*id, link));
            }
        }
        for end in self.ends() {
            let links = self.path(end).map(|path| path.links().to_vec()).unwrap_or_default();
            for (link, _) in links.into_iter().filter(|(_, to)| *to == host) {
                self.at_path(end, |path| path.lost(link));
            }
        }
    }

    /// A path that does not have anything fenced goes on at once (a broken rule).
    pub(crate) fn step_paths(&mut self) -> bool {
        if !self.breaks(Mutant::ReplayWithoutFence) {
            return false;
        }
        for end in self.ends() {
            if let Some(Work::Fence(front)) = self.path(end).map(PathEnd::work) {
                self.at_path(end, |path| path.fenced(front));
                return true;
            }
        }
        false
    }

    /// What every path has to work on or may suffer.
    pub(crate) fn path_actions(&self, out: &mut Vec<Action>) {
        for (number, end) in self.ends().into_iter().enumerate() {
            let Some(of) = self.path(end) else { continue };
            let path = number as u8;
            let opens = |host| Action::OpenLink { path, host };
            let hosts = [Host::Source, Host::Destination];
            let open = hosts.into_iter().filter(|host| self.may_open_link(end, *host));
            match of.work() {
                Work::Reopen => out.extend(open.map(opens)),
                // A move: the controller or the destination has told where the owner is.
                Work::Free if of.front().is_some_and(|(_, host)| host == Host::Source) => {
                    out.extend(open.filter(|host| *host == Host::Destination).map(opens));
                }
                Work::Fence(_) if self.may_fence(end) => out.push(Action::FenceSession { path }),
                _ => {}
            }
            if of.is_moving() {
                out.push(Action::DrainTooSlow { path });
            }
            let links = 0..of.links().len() as u8;
            out.extend(links.map(|link| Action::BreakLink { path, link }));
        }
    }

    /// Whether a link can be opened to the host.
    fn may_open_link(&self, end: End, host: Host) -> bool {
        let Some(of) = self.path(end) else { return false };
        let ((_, generation), session) = (of.next_generation(), of.session);
        match (end.0, host) {
            (Sender::Switch, Host::Source) => self.source_accepts(session, generation),
            (Sender::Switch, Host::Destination) => {
                self.destination.journal.owned && self.destination_accepts(session, generation)
            }
            (Sender::Source, Host::Source) => false,
            (Sender::Source, Host::Destination) => self.destination_accepts(session, generation),
        }
    }

    /// A link is opened.
    pub(crate) fn open_link(&mut self, path: u8, host: Host) {
        let end = self.ends()[usize::from(path)];
        let Some(of) = self.path(end) else { return };
        let ((_, generation), was_lost) = (of.next_generation(), of.work() == Work::Reopen);
        if end.0 == Sender::Switch && host == Host::Source {
            self.connect_source(end.1, generation);
        }
        self.at_path(end, |path| path.opened(host));
        if was_lost && self.breaks(Mutant::ReplayAnswered) && end.0 == Sender::Switch {
            self.replay_answered(end, host);
        }
    }

    fn replay_answered(&mut self, end: End, to: Host) {
        let of =
            self.clients.iter().find(|of| of.path.as_ref().is_some_and(|p| p.session == end.1));
        let Some((request, path)) = of.and_then(|of| Some((of.last?, of.path.as_ref()?))) else {
            return;
        };
        let Some((link, _)) = path.front() else { return };
        let generation = path.on_the_wire(link);
        let spare = path.clone().arrive(request).0;
        let way = Way { link, id: Skip(spare), live: false };
        let (by, session) = (end.0, end.1);
        self.wire.calls.push(Call { by, to, session, generation, request, way });
    }

    /// Whether the server behind the path's front can confirm its fence.
    fn may_fence(&self, end: End) -> bool {
        let Some((session, generation, host)) = self.fence_of(end) else { return false };
        match host {
            Host::Source => self.source_can_fence(session, generation),
            Host::Destination => self.destination_can_fence(session, generation),
        }
    }

    fn fence_of(&self, end: End) -> Option<(Session, PathGeneration, Host)> {
        let path = self.path(end)?;
        let (front, host) = path.front()?;
        Some((path.session, path.on_the_wire(front), host))
    }

    /// The server confirms a fence, durably.
    pub(crate) fn fence(&mut self, path: u8) {
        let end = self.ends()[usize::from(path)];
        let Some((session, generation, host)) = self.fence_of(end) else { return };
        match host {
            Host::Source => self.source_fences(session, generation),
            Host::Destination => self.destination_fences(session, generation),
        }
        let front = self.path(end).and_then(PathEnd::front);
        if let Some((front, _)) = front {
            self.at_path(end, |path| path.fenced(front));
        }
    }

    /// A link breaks.
    pub(crate) fn break_link(&mut self, path: u8, link: u8) {
        let end = self.ends()[usize::from(path)];
        let links = self.path(end).map(|path| path.links().to_vec()).unwrap_or_default();
        if let Some((link, _)) = links.get(usize::from(link)) {
            self.at_path(end, |path| path.lost(*link));
        }
    }

    /// The old link of a move takes too long.
    pub(crate) fn drain_too_slow(&mut self, path: u8) {
        let end = self.ends()[usize::from(path)];
        self.at_path(end, PathEnd::drain_too_slow);
    }
}
