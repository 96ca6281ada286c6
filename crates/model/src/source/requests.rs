//! Requests at the source: how they begin, and how their local part ends.

use blockferry_block::Extent;
use blockferry_migration::source::ReadStart;

use super::Lane;
use crate::operation::{Operation, Origin, Stage, Work};
use crate::place::{Content, Span};
use crate::request::{Request, Verb};
use crate::skip::Skip;
use crate::wire::OWN_KEY;
use crate::world::World;

impl World {
    /// A client's request arrives at the source.
    pub(crate) fn begin_request(&mut self, origin: Origin, request: Request) {
        let machine = &mut self.source.machine;
        let extent = request.span.extent();
        let work = Work::Request(request, Content::default());
        let mut operation = Operation::new(None, origin, work);
        if request.is_update() {
            let key = match origin {
                Origin::Client(client) => self.source.lanes[usize::from(client) + 1].key,
                Origin::Path(session, generation, _) => Lane::key(session, generation),
                Origin::Resync => OWN_KEY,
            };
            operation.id = Some(Skip(machine.begin_update(key, extent)));
        } else {
            // A flush asks for no extent: it waits for no update.
            let nothing = Extent::between(0, 0);
            let extent = if request.verb == Verb::Flush { nothing } else { extent };
            match machine.begin_read(extent) {
                ReadStart::Unlocked => operation.stage = Stage::Applying(false),
                ReadStart::Recorded(id) => operation.id = Some(Skip(id)),
                ReadStart::Forward => operation.stage = Stage::Forwarding(None),
            }
        }
        self.source.operations.push(operation);
    }

    /// The local part of an operation ends; on a failing disk a write may have been applied or not.
    pub(crate) fn local_done(&mut self, index: usize, ok: bool, applied: bool) {
        let operation = &mut self.source.operations[index];
        operation.stage = Stage::Applying(true);
        let Work::Request(request, read) = &mut operation.work else { return };
        let disk = &mut self.source.disk;
        match request.verb {
            Verb::Read => *read = disk.now(),
            Verb::Flush if ok => disk.flush(Span::AB),
            Verb::Flush => {}
            _ if applied => disk.write(request.span, &request.span.filled(request.value)),
            _ => {}
        }
        if ok && request.verb == Verb::WriteFua {
            disk.flush(request.span);
        }
        let read = *read;
        match operation.id {
            Some(id) => self.source.machine.local_done(*id, ok),
            None => {
                let origin = self.source.operations.remove(index).origin;
                self.source.machine.end_unlocked_read();
                self.answer_origin(origin, ok, read);
            }
        }
    }
}
