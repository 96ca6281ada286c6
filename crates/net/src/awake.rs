//! Waiting for a client's next request without going to sleep.
//!
//! Waking a sleeping processor costs more than answering a small request. A client that sends one
//! request after another is waited for awake for a moment, as long as that has proved right lately:
//! only while nobody else is served, so that nobody waits for it, and only where another processor is
//! free for everything else.
//!
//! Where the device is behind a socket of the same thread, as in the switch, its answer is waited for in
//! the same way, and through the runtime, which looks at all sockets of the thread.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::Context;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::limits::Attention;
use crate::stream::Stream;

/// Longest wait. Two processors that sleep and wake each other need about as long.
const LONGEST: Duration = Duration::from_micros(100);

/// So many turns in a row have to bring one request each, and nobody else any.
const ALONE_AFTER: u32 = 16;

/// A request that comes sooner was sent before its client had the last answer: there are more under
/// way, and whoever sleeps a little finds several at once.
const SOON: Duration = Duration::from_micros(5);

/// Whoever offers its processor to others and has it back later than this has given it to somebody who
/// uses it up. The system counts that against later turns, and a request would wait for milliseconds.
const CROWDED: Duration = Duration::from_micros(500);

/// After so many more waits that were wrong than right ...
const WRONG_MAX: u32 = 4;

/// ... there is none for so many turns, and for twice as many the next time ...
const PAUSE: u32 = 256;
const PAUSE_MAX: u32 = 1 << 14;

/// ... unless so many in a row were right in between.
const RIGHT_AGAIN: u32 = 64;

/// What one connection knows of its client's habits.
#[derive(Debug)]
pub struct Awake {
    attention: Attention,
    connection: u64,
    /// Turns in a row with one request, and nobody else served.
    alone: u32,
    /// Waits that were right, in a row, and those that were wrong beyond the others.
    right: u32,
    wrong: u32,
    /// Turns without a wait: those that are left, and those of the next time.
    pause: u32,
    next_pause: u32,
    /// Requests that were taken in this turn, and those that were answered.
    taken: u32,
    answered: u32,
    /// When a wait through the runtime began.
    since: Option<Instant>,
}

impl Awake {
    /// For a connection of which nothing is known.
    pub fn new(attention: Attention) -> Self {
        let connection = attention.number();
        Self {
            attention,
            connection,
            alone: 0,
            right: 0,
            wrong: 0,
            pause: 0,
            next_pause: PAUSE,
            taken: 0,
            answered: 0,
            since: None,
        }
    }

    /// A request was taken.
    pub const fn took(&mut self) {
        self.taken += 1;
    }

    /// A request was answered.
    pub const fn answered(&mut self) {
        self.answered += 1;
    }

    /// How long to wait for the next request, once everything is done.
    fn patience(&mut self) -> Option<Duration> {
        let (taken, _) = self.events();
        (taken > 0).then(|| self.patience_after(taken == 1)).flatten()
    }

    /// What was taken and answered in this turn.
    const fn events(&mut self) -> (u32, u32) {
        let events = (self.taken, self.answered);
        (self.taken, self.answered) = (0, 0);
        events
    }

    /// The same after a turn that has brought something, `single` when it was one request's.
    fn patience_after(&mut self, single: bool) -> Option<Duration> {
        let alone = self.attention.stays_with(self.connection) && single;
        self.alone = if alone { self.alone.saturating_add(1) } else { 0 };
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        let waits = self.alone >= ALONE_AFTER && self.attention.has_room_for_others;
        waits.then_some(LONGEST)
    }

    fn waited(&mut self, is_right: bool) {
        if is_right {
            self.right += 1;
            self.wrong = self.wrong.saturating_sub(1);
            if self.right == RIGHT_AGAIN {
                (self.right, self.next_pause) = (0, PAUSE);
            }
            return;
        }
        self.right = 0;
        self.wrong += 1;
        if self.wrong == WRONG_MAX {
            (self.wrong, self.pause) = (0, self.next_pause);
            self.next_pause = (2 * self.next_pause).min(PAUSE_MAX);
        }
    }

    /// Somebody else needs the processor: there is no wait for long.
    const fn crowded(&mut self) {
        self.pause = PAUSE_MAX;
    }

    /// Waits a moment for the next request, if that is likely to be worth it; `is_idle` says whether the
    /// client has everything that it has asked for. Gives how many bytes have come, zero at the end, and
    /// `None` where nothing has.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn wait(
        &mut self,
        is_idle: bool,
        stream: &Stream,
        inbox: &mut BytesMut,
    ) -> io::Result<Option<usize>> {
        let Some(longest) = self.patience().filter(|_| is_idle) else { return Ok(None) };
        let begun = Instant::now();
        while begun.elapsed() < longest {
            match stream.receive_now(inbox)? {
                None if is_crowded() => {
                    self.crowded();
                    return Ok(None);
                }
                None => {}
                Some(count) => {
                    if count > 0 {
                        self.waited(begun.elapsed() > SOON);
                    }
                    return Ok(Some(count));
                }
            }
        }
        self.waited(false);
        Ok(None)
    }

    /// The same where an answer is waited for, too: has the runtime look at all sockets of the thread
    /// again instead of going to sleep. `is_alone` says whether less than two requests are under way, and
    /// `is_open` whether more of them are taken.
    pub fn wait_for_both(&mut self, is_alone: bool, is_open: bool, cx: &mut Context<'_>) {
        let (taken, answered) = self.events();
        if taken + answered > 0 {
            if let Some(since) = self.since.take() {
                self.waited(since.elapsed() > SOON);
            }
            let single = taken < 2 && answered < 2 && is_alone;
            let patience = self.patience_after(single).filter(|_| is_open);
            self.since = patience.map(|_| Instant::now());
        }
        let Some(since) = self.since else { return };
        if since.elapsed() > LONGEST {
            self.since = None;
            return self.waited(false);
        }
        if is_crowded() {
            self.since = None;
            return self.crowded();
        }
        // Woken when the sockets were looked at.
        let _ = pin!(tokio::task::yield_now()).poll(cx);
    }
}

/// Lets others have the processor; tells whether one of them has used it up.
fn is_crowded() -> bool {
    let begun = Instant::now();
    yield_now();
    begun.elapsed() > CROWDED
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn attention() -> Attention {
        let mut attention = Attention::default();
        attention.has_room_for_others = true;
        attention
    }

    /// A turn that brings so many requests; tells whether the next one is waited for.
    fn turn(awake: &mut Awake, requests: u32) -> bool {
        (0..requests).for_each(|_| awake.took());
        awake.patience().is_some()
    }

    /// Turns of one request until the next one is waited for.
    fn turns_until_it_waits(awake: &mut Awake) -> u32 {
        1 + (0..1 << 20).take_while(|_| !turn(awake, 1)).count() as u32
    }

    #[test]
    fn a_client_that_sends_one_request_after_another_is_waited_for() {
        let mut awake = Awake::new(attention());
        assert!(turns_until_it_waits(&mut awake) <= ALONE_AFTER + 1);
        assert!(turn(&mut awake, 1));
        assert!(!turn(&mut awake, 0), "nothing was answered");
    }

    #[test]
    fn nobody_is_waited_for_while_somebody_else_is_served() {
        let attention = attention();
        let mut clients = [Awake::new(attention.clone()), Awake::new(attention)];
        for _ in 0..1000 {
            assert!(clients.iter_mut().all(|client| !turn(client, 1)));
        }
        turns_until_it_waits(&mut clients[0]);
        turn(&mut clients[1], 1);
        assert!(!turn(&mut clients[0], 1), "the other one was served in between");
    }

    #[test]
    fn a_client_that_has_several_requests_under_way_is_not_waited_for() {
        let mut awake = Awake::new(attention());
        for _ in 0..1000 {
            assert!(!turn(&mut awake, 1) && !turn(&mut awake, 2));
        }
    }

    #[test]
    fn without_another_processor_nobody_is_waited_for() {
        let mut attention = attention();
        attention.has_room_for_others = false;
        let mut awake = Awake::new(attention);
        assert!((0..1000).all(|_| !turn(&mut awake, 1)));
    }

    #[test]
    fn nobody_is_waited_for_where_others_need_the_processor() {
        let mut awake = Awake::new(attention());
        turns_until_it_waits(&mut awake);
        awake.crowded();
        assert!((0..PAUSE_MAX).all(|_| !turn(&mut awake, 1)));
        assert!(turn(&mut awake, 1), "it is tried again");
    }

    #[test]
    fn waits_that_are_wrong_become_rare_and_those_that_are_right_do_not() {
        let mut awake = Awake::new(attention());
        let waited = |awake: &mut Awake, is_right: bool| {
            let waits = (0..10_000).filter(|_| {
                let waits = turn(awake, 1);
                if waits {
                    awake.waited(is_right);
                }
                waits
            });
            waits.count()
        };
        assert!(waited(&mut awake, true) > 9_900);
        assert!(waited(&mut awake, false) < 30);
        assert!(waited(&mut awake, false) <= WRONG_MAX as usize);
        let again = waited(&mut awake, true) + waited(&mut awake, true) + waited(&mut awake, true);
        assert!(again > 10_000, "a client that has changed is waited for again: {again}");
    }

    #[tokio::test]
    async fn what_comes_is_taken_by_who_waits_and_by_nobody_else() {
        let (one, mut other) = UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        let stream = Stream::adopt(one.into()).unwrap();
        other.write_all(b"the next request").unwrap();
        let (mut awake, mut inbox) = (Awake::new(attention()), BytesMut::new());
        turns_until_it_waits(&mut awake);
        awake.took();
        assert_eq!(awake.wait(false, &stream, &mut inbox).unwrap(), None, "answers are missing");
        awake.took();
        assert_eq!(awake.wait(true, &stream, &mut inbox).unwrap(), Some(16));
        assert_eq!(&inbox[..], b"the next request");
        drop(other);
        awake.took();
        assert_eq!(awake.wait(true, &stream, &mut inbox).unwrap(), Some(0), "the end");
    }
}
