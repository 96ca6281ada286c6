//! Memory for what is received: a thread has some, and a connection holds of it while something of its
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

/// Buffers that a thread keeps while no connection has them.
const KEPT_MAX: usize = 4;
/// Longer ones are not kept, in bytes.
const KEPT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    /// The one used last comes last.
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Receives behind what the inbox holds. `missing` is how much is known to follow, so that a large
/// payload comes into one piece of memory.
pub(crate) fn receive_into(
    inbox: &mut BytesMut,
    missing: usize,
    receive: impl FnOnce(&mut Limit<&mut BytesMut>) -> Poll<io::Result<usize>>,
) -> Poll<io::Result<usize>> {
    let room = missing.max(RECEIVE_BYTES);
    if inbox.is_empty() && !inbox.try_reclaim(RECEIVE_BYTES) {
        *inbox = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
    }
    if inbox.capacity() - inbox.len() < room {
        inbox.reserve(if missing > RECEIVE_BYTES { missing } else { ROOM_BYTES });
    }
    let received = receive(&mut (&mut *inbox).limit(room));
    if inbox.is_empty() {
        keep(std::mem::take(inbox));
    }
    received
}

/// Keeps a buffer for others, unless it is too long or most of it is in use.
fn keep(mut buffer: BytesMut) {
    let is_long = buffer.try_reclaim(KEPT_BYTES_MAX + 1);
    if is_long || !buffer.try_reclaim(RECEIVE_BYTES) {
        return;
    }
    KEPT.with_borrow_mut(|kept| {
        if kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    });
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

    fn kept() -> usize {
        KEPT.with_borrow(Vec::len)
    }

    #[test]
    fn connections_for_which_nothing_has_come_hold_no_memory() {
        let mut inboxes = vec![BytesMut::new(); 10];
        for inbox in &mut inboxes {
            receive(inbox, 28, b"a request");
            assert_eq!(&inbox.split()[..], b"a request");
            idle(inbox);
        }
        assert_eq!(kept(), 1, "each has used the same");
        inboxes.iter_mut().for_each(|inbox| receive(inbox, 28, b"one for each"));
        for inbox in &mut inboxes {
            inbox.clear();
            idle(inbox);
        }
        assert_eq!(kept(), KEPT_MAX);
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
    fn memory_that_is_in_use_or_very_long_is_not_kept() {
        let mut inbox = BytesMut::new();
        receive(&mut inbox, 2 << 20, &vec![1; 2 << 20]);
        drop(inbox.split());
        idle(&mut inbox);
        let short = KEPT.with_borrow(|kept| kept.iter().all(|one| one.capacity() <= ROOM_BYTES));
        assert!(short);
        receive(&mut inbox, 28, &[1; RECEIVE_BYTES]);
        let in_use = inbox.split().freeze();
        idle(&mut inbox);
        receive(&mut inbox, 28, &[2; RECEIVE_BYTES]);
        assert!(in_use.iter().all(|byte| *byte == 1));
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
