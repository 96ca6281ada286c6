//! Memory for what is received: a thread's, as long as nothing of it is in use, so that a connection that
//! is idle holds none.

use std::cell::RefCell;
use std::io;
use std::task::Poll;

use bytes::BytesMut;

/// Room for a receive, in bytes: many small requests come in one.
pub(crate) const RECEIVE_BYTES: usize = 128 << 10;
/// With less room than this a buffer gets new room, in bytes.
pub(crate) const RECEIVE_BYTES_MIN: usize = 32 << 10;

thread_local! {
    static ROOM: RefCell<BytesMut> = RefCell::default();
}

/// Receives behind what the inbox holds. `missing` is how much is known to follow, so that a large
/// payload comes into one piece of memory.
pub(crate) fn receive_into(
    inbox: &mut BytesMut,
    missing: usize,
    receive: impl FnOnce(&mut BytesMut) -> Poll<io::Result<usize>>,
) -> Poll<io::Result<usize>> {
    if !inbox.is_empty() || missing > RECEIVE_BYTES_MIN {
        make_room(inbox, missing);
        return receive(inbox);
    }
    // What was in it may be in use for long, and need not keep what is behind it.
    *inbox = BytesMut::new();
    ROOM.with_borrow_mut(|room| {
        make_room(room, missing);
        let received = receive(room);
        *inbox = room.split();
        received
    })
}

fn make_room(buffer: &mut BytesMut, missing: usize) {
    if buffer.capacity() - buffer.len() < missing.max(RECEIVE_BYTES_MIN) {
        buffer.reserve(missing.max(RECEIVE_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(inbox: &mut BytesMut, missing: usize, bytes: &'static [u8]) {
        let received = receive_into(inbox, missing, |room| {
            room.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        });
        assert!(matches!(received, Poll::Ready(Ok(count)) if count == bytes.len()));
    }

    #[test]
    fn a_connection_for_which_nothing_has_come_holds_no_memory() {
        let mut inboxes = vec![BytesMut::new(); 3];
        for inbox in &mut inboxes {
            receive(inbox, 28, b"a request");
            assert_eq!(&inbox.split()[..], b"a request");
            let idle = receive_into(inbox, 28, |_| Poll::Pending);
            assert!(idle.is_pending() && inbox.capacity() == 0);
        }
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
