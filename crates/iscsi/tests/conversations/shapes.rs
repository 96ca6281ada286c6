use blockferry_iscsi::pdu::{R2t, Request, Residual, ScsiCommand};
use blockferry_iscsi::{Command, Delivery, Event, Fault, Itt, Outcome, TaskId, Ttt};
use bytes::Bytes;
use proptest::prelude::*;

use crate::talk::{Talk, data_out};
use crate::writes::{content, r2ts, residual};

/// What one write of the negotiation's bounds comes to.
#[derive(Clone, Debug)]
struct Shape {
    initial_r2t: bool,
    immediate_data: bool,
    first_burst: u32,
    max_burst: u32,
    outstanding: u16,
    expected: u32,
    wanted: u32,
    cuts: Vec<u32>,
    delivery: Delivery,
}

fn shape() -> impl Strategy<Value = Shape> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let lengths = (512..4000_u32, 512..4000_u32, 1..5_u16, 0..20_000_u32, 0..24_000_u32);
    let cuts = proptest::collection::vec(1..2500_u32, 1..8);
    (flags, lengths, cuts).prop_map(|(flags, lengths, cuts)| Shape {
        initial_r2t: flags.0,
        immediate_data: flags.1,
        delivery: if flags.2 { Delivery::Whole } else { Delivery::Pieces },
        first_burst: lengths.0,
        max_burst: lengths.1,
        outstanding: lengths.2,
        expected: lengths.3,
        wanted: lengths.4,
        cuts,
    })
}

impl Shape {
    fn talk(&self) -> Talk {
        let yes = |value| if value { "Yes" } else { "No" };
        let keys = [
            format!("InitialR2T={}", yes(self.initial_r2t)),
            format!("ImmediateData={}", yes(self.immediate_data)),
            format!("FirstBurstLength={}", self.first_burst),
            format!("MaxBurstLength={}", self.max_burst),
            format!("MaxOutstandingR2T={}", self.outstanding),
        ];
        Talk::new(&keys.each_ref().map(String::as_str))
    }

    /// Sends the bytes from one offset to another as a sequence of Data-Outs, cut anywhere.
    fn sequence(&self, talk: &mut Talk, itt: Itt, ttt: Ttt, from: u32, to: u32) {
        let (whole, mut at) = (content(self.expected), from);
        for (data_sn, cut) in (0..).zip(self.cuts.iter().cycle()) {
            let end = (at + cut).min(to);
            let piece = whole.slice(at as usize..end as usize);
            talk.send(data_out(itt, ttt, data_sn, at, end == to), &piece).unwrap();
            at = end;
            if at == to {
                return;
            }
        }
    }

    /// Sends the command and everything that may come without an R2T.
    fn begin(&self, talk: &mut Talk) -> Command {
        let unsolicited = self.first_burst.min(self.expected);
        let immediate = if self.immediate_data { self.cuts[0].min(unsolicited) } else { 0 };
        let more = !self.initial_r2t && immediate < unsolicited;
        let command = ScsiCommand {
            write: true,
            last: !more,
            expected_length: self.expected,
            ..talk.command()
        };
        let data = content(self.expected).slice(..immediate as usize);
        talk.send(Request::ScsiCommand(command), &data).unwrap();
        let delivered = talk.delivered();
        if more {
            self.sequence(talk, command.itt, Ttt::NONE, immediate, unsolicited);
        }
        delivered
    }
}

/// Takes what is delivered, and sees to it that it comes in order.
fn collect(talk: &mut Talk, id: TaskId, got: &mut Vec<u8>) -> bool {
    let mut ended = false;
    for event in talk.events() {
        let Event::Data { task, offset, data, last } = event else { panic!("{event:?}") };
        assert!(task == id && offset as usize == got.len() && !ended);
        got.extend_from_slice(&data.into_bytes());
        ended = last;
    }
    ended
}

proptest! {
    #[test]
    fn a_writes_data_arrives_whole_and_in_order_within_all_bounds(shape in shape()) {
        let mut talk = shape.talk();
        let command = shape.begin(&mut talk);
        let wanted = shape.wanted.min(shape.expected);
        let mut got = Vec::new();
        let mut ended = match talk.session.take(command.task, shape.wanted, shape.delivery) {
            Some(data) => {
                got.extend_from_slice(&data.into_bytes());
                true
            }
            None => collect(&mut talk, command.task, &mut got),
        };
        let mut waiting: Vec<R2t> = r2ts(&mut talk);
        let (mut asked, mut number) = (None, 0);
        while !waiting.is_empty() {
            prop_assert!(waiting.len() <= usize::from(shape.outstanding));
            let r2t = waiting.remove(0);
            prop_assert_eq!(r2t.r2t_sn, number);
            prop_assert!((1..=shape.max_burst).contains(&r2t.length));
            prop_assert!(asked.is_none_or(|end| end == r2t.offset));
            asked = Some(r2t.offset + r2t.length);
            number += 1;
            let end = r2t.offset + r2t.length;
            shape.sequence(&mut talk, r2t.itt, r2t.ttt, r2t.offset, end);
            ended |= collect(&mut talk, command.task, &mut got);
            waiting.extend(r2ts(&mut talk));
        }
        prop_assert!(ended);
        prop_assert!(asked.is_none_or(|end| end == wanted));
        prop_assert_eq!(Bytes::from(got), content(wanted));
        talk.session.respond(command.task, Outcome::good(u64::from(shape.wanted)), &[]);
        let residual_expected = Residual::of(shape.expected, u64::from(shape.wanted));
        prop_assert_eq!(residual(&mut talk), residual_expected);
        prop_assert!(talk.session.is_idle());
    }

    #[test]
    fn any_data_out_is_taken_or_ends_the_session(
        first in any::<[u8; 24]>(), second in any::<[u8; 24]>(), known: bool, data: Vec<u8>,
    ) {
        let mut talk = Talk::new(&["InitialR2T=No"]);
        let command =
            ScsiCommand { write: true, last: false, expected_length: 3000, ..talk.command() };
        talk.send(Request::ScsiCommand(command), b"abc").unwrap();
        let mut header = [0; 48];
        header[..24].copy_from_slice(&first);
        header[24..].copy_from_slice(&second);
        let Some(Request::DataOut(mut piece)) =
            Request::decode(&blockferry_iscsi::Header({ header[0] = 5; header })) else {
            panic!("a Data-Out")
        };
        if known {
            piece.itt = command.itt;
            piece.ttt = Ttt::NONE;
            piece.data_sn %= 2;
            piece.offset = 3 + piece.offset % 2;
        }
        match talk.send(Request::DataOut(piece), &data) {
            Ok(()) => {}
            Err(Fault::UnexpectedData(itt) | Fault::TooMuchData(itt)) => {
                prop_assert_eq!(itt, piece.itt);
            }
            Err(other) => panic!("{other}"),
        }
        let events = talk.events();
        let Some(Event::Command(write)) = events.first() else { panic!("{events:?}") };
        let aborted = events.len() > 1;
        let taken = talk.session.take(write.task, 3, Delivery::Whole);
        prop_assert_eq!(taken.map(|data| data.into_bytes() == b"abc"[..]), (!aborted).then_some(true));
    }
}
