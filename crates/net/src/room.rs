//! Memory for what is received: a thread has some, and a connection holds a part while something of its
//! own is in it. So one that is idle holds none, and none is asked of the system for each message.

use std::cell::RefCell;
use std::io;
use std::task::Poll;

use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};

/// Received at once where it is not known what comes, in bytes: many small requests, and of a large one
/// so little that it costs little to copy that to where the rest of it comes.
pub(crate) const RECEIVE_BYTES: usize = 32 << 10;

/// Room in a new buffer, in bytes, for several receives.
const ROOM_BYTES: usize = 128 << 10;

/// Memory that a thread keeps for what comes next, in bytes.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// A buffer up to so many times as long as wanted will do.
const LONGER_MAX: usize = 4;

thread_local! {
    static ROOMS: RefCell<Rooms> = const { RefCell::new(Rooms { rooms: Vec::new(), bytes: 0 }) };
}

/// Receives behind what the inbox holds. `missing` is how much is known to follow, so that a large
/// payload comes into one piece of memory.
pub fn receive_into(
    inbox: &mut BytesMut,
    missing: usize,
    receive: impl FnOnce(&mut Limit<&mut BytesMut>) -> Poll<io::Result<usize>>,
) -> Poll<io::Result<usize>> {
    let room = missing.max(RECEIVE_BYTES);
    if inbox.capacity() - inbox.len() < room {
        let wanted = inbox.len() + if missing > RECEIVE_BYTES { missing } else { ROOM_BYTES };
        let mut larger = ROOMS.with_borrow_mut(|rooms| rooms.take(wanted));
        larger.extend_from_slice(inbox);
        *inbox = larger;
    }
    let received = receive(&mut (&mut *inbox).limit(room));
    if inbox.is_empty() {
        *inbox = BytesMut::new();
    }
    received
}

/// The buffers of a thread, in use or not; the one used last comes last, and is in the processor's cache.
struct Rooms {
    rooms: Vec<Room>,
    bytes: usize,
}

/// A buffer of so many bytes.
struct Room {
    /// Covers none of its memory, which is free when no other handle is left.
    handle: BytesMut,
    bytes: usize,
}

impl Rooms {
    /// An empty buffer that is at least so long.
    fn take(&mut self, wanted: usize) -> BytesMut {
        let free = self.rooms.iter_mut().rposition(|room| room.is_free(wanted));
        let mut buffer = match free {
            Some(place) => {
                let room = self.rooms.remove(place);
                self.bytes -= room.bytes;
                room.handle
            }
            None => BytesMut::with_capacity(wanted),
        };
        let bytes = buffer.capacity();
        self.rooms.push(Room { handle: buffer.split_off(bytes), bytes });
        self.bytes += bytes;
        while self.bytes > KEPT_BYTES_MAX {
            self.bytes -= self.rooms.remove(0).bytes;
        }
        buffer
    }
}

impl Room {
    /// Whether nobody uses it, and it has the right length; then the handle is all of it.
    fn is_free(&mut self, wanted: usize) -> bool {
        let will_do = wanted..=wanted.saturating_mul(LONGER_MAX);
        will_do.contains(&self.bytes) && self.handle.try_reclaim(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(inbox: &mut BytesMut, missing: usize, bytes: &[u8]) {
        let received = receive_into(inbox, missing, |room| {
            room.put_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        });
        assert!(matches!(received, Poll::Ready(Ok(count)) if count == bytes.len()));
    }

    fn idle(inbox: &mut BytesMut) {
        let received = receive_into(inbox, 28, |room| {
            assert!(room.remaining_mut() >= RECEIVE_BYTES);
            Poll::Pending
        });
        assert!(received.is_pending() && inbox.capacity() == 0);
    }

    fn kept() -> (usize, usize) {
        ROOMS.with_borrow(|rooms| (rooms.rooms.len(), rooms.bytes))
    }

    #[test]
    fn connections_for_which_nothing_has_come_hold_no_memory() {
        let mut inboxes = vec![BytesMut::new(); 10];
        for inbox in &mut inboxes {
            receive(inbox, 28, b"a request");
            assert_eq!(&inbox.split()[..], b"a request");
            idle(inbox);
        }
        assert_eq!(kept(), (1, ROOM_BYTES), "each has used the same");
        inboxes.iter_mut().for_each(|inbox| receive(inbox, 28, b"one for each"));
        for inbox in &mut inboxes {
            inbox.clear();
            idle(inbox);
        }
        assert_eq!(kept(), (10, 10 * ROOM_BYTES));
    }

    #[test]
    fn one_large_message_after_another_comes_into_the_same_memory() {
        let (mut inbox, message) = (BytesMut::new(), vec![1; 300_000]);
        let mut places = Vec::new();
        for _ in 0..5 {
            receive(&mut inbox, message.len(), &message);
            places.push(inbox.as_ptr());
            drop(inbox.split().freeze());
            idle(&mut inbox);
        }
        assert!(places[1..].iter().all(|place| *place == places[0]), "{places:?}");
    }

    #[test]
    fn a_message_that_is_in_use_stays_and_its_memory_is_used_again_afterwards() {
        let mut inbox = BytesMut::new();
        receive(&mut inbox, 28, &[1; RECEIVE_BYTES]);
        let in_use = inbox.split().freeze();
        idle(&mut inbox);
        receive(&mut inbox, 28, &[2; RECEIVE_BYTES]);
        assert!(in_use.iter().all(|byte| *byte == 1));
        let (first, second) = (in_use.as_ptr(), inbox.as_ptr());
        inbox.clear();
        idle(&mut inbox);
        drop(in_use);
        let mut both: Vec<_> = (0..2).map(|_| BytesMut::new()).collect();
        both.iter_mut().for_each(|inbox| receive(inbox, 28, b"again"));
        assert_eq!([both[1].as_ptr(), both[0].as_ptr()], [first, second]);
    }

    #[test]
    fn no_more_is_kept_than_allowed_however_much_was_received_at_once() {
        let mut inboxes = vec![BytesMut::new(); 10];
        inboxes.iter_mut().for_each(|inbox| receive(inbox, 1 << 20, &[1; 1 << 20]));
        drop(inboxes);
        assert!(kept().1 <= KEPT_BYTES_MAX, "{:?}", kept());
        let mut inbox = BytesMut::new();
        receive(&mut inbox, KEPT_BYTES_MAX + 1, b"a very long one");
        assert_eq!(kept(), (0, 0));
        assert!(inbox.capacity() > KEPT_BYTES_MAX);
    }

    #[test]
    fn what_has_come_in_part_is_gone_on_with_in_one_piece() {
        let mut inbox = BytesMut::new();
        receive(&mut inbox, 28, b"one and ");
        let mut other = BytesMut::new();
        receive(&mut other, 28, b"another's");
        receive(&mut inbox, 100_000, b"the rest");
        assert_eq!((&inbox[..], &other[..]), (&b"one and the rest"[..], &b"another's"[..]));
        assert!(inbox.capacity() >= 100_000);
    }
}
