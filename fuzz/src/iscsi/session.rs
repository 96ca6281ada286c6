//! An initiator's bytes to a session, whose caller answers in many ways.

use blockferry_iscsi::pdu::{FunctionResult, Stage, Status};
use blockferry_iscsi::{
    Admission, Command, DataPart, Decoder, Delivery, Event, Login, LoginStep, Notice, Offer,
    Outbox, Outcome, PortalGroup, Session, SessionLimits, TaskId, Tsih,
};
use bytes::{Bytes, BytesMut};

use super::{request, text};
use crate::pieces::feed;

/// Commands at a time; few, so that the window is often full.
const LIMITS: SessionLimits = SessionLimits {
    window: 4,
    immediate_max: 2,
    solicited_bytes_max: 4096,
    unsent_bytes_max: 1 << 20,
};

/// An initiator's bytes after the login; the first one picks what was negotiated.
pub fn iscsi_session(data: &[u8]) {
    let Some((variant, data)) = data.split_first() else { return };
    assert_eq!(serve(*variant, data, None), serve(*variant, data, Some(1 + data.len() % 7)));
}

/// What is sent.
fn serve(variant: u8, data: &[u8], length: Option<usize>) -> Vec<u8> {
    let mut session = session(variant);
    let parameters = *session.parameters();
    let mut decoder = Decoder::new();
    decoder.set(parameters.digests, parameters.target_segment_max);
    let mut caller = Caller::default();
    feed(data, length, |input| {
        loop {
            let Ok(pdu) = decoder.decode(input) else { return Some(()) };
            if session.handle(pdu?).is_err() {
                return Some(());
            }
            while let Some(event) = session.poll_event() {
                caller.take(&mut session, event);
            }
        }
    });
    session.abandon();
    let sent = std::mem::take(&mut caller.sent);
    caller.finish(&mut session);
    assert!(session.is_idle());
    sent
}

/// A session that has begun.
pub(super) fn session(variant: u8) -> Session {
    let yes = |bit: u8| if variant & bit != 0 { "Yes" } else { "No" };
    let pairs = [
        "InitiatorName=iqn.2026-01.io.blockferry:initiator".to_owned(),
        "TargetName=iqn.2026-01.io.blockferry:vol".to_owned(),
        format!("InitialR2T={}", yes(1)),
        format!("ImmediateData={}", yes(2)),
        format!("HeaderDigest={}", if variant & 4 != 0 { "CRC32C" } else { "None" }),
        "MaxBurstLength=1024".to_owned(),
        "FirstBurstLength=768".to_owned(),
        "MaxOutstandingR2T=2".to_owned(),
        "MaxRecvDataSegmentLength=512".to_owned(),
    ];
    let mut login = Login::new(Offer::default(), PortalGroup(1), LIMITS);
    let mut outbox = Outbox::new();
    let text = text(&pairs.each_ref().map(String::as_str));
    outbox.put_pdu(request(Stage::Operational, Stage::FullFeature).encode(), &[], &text);
    let mut input = BytesMut::from(&outbox.pieces().collect::<Vec<_>>().concat()[..]);
    let pdu = Decoder::new().decode(&mut input).expect("our own bytes").expect("a whole PDU");
    assert!(matches!(login.handle(&pdu), LoginStep::Ask(_)));
    match login.answer(Admission::Serve { tsih: Tsih(7), chap: None }) {
        LoginStep::Established(established) => Session::new(*established, LIMITS),
        step => panic!("{step:?}"),
    }
}

/// Executes commands; what one does comes from the first bytes of its CDB.
#[derive(Default)]
struct Caller {
    under_way: Vec<Work>,
    sent: Vec<u8>,
}

struct Work {
    task: TaskId,
    wanted: u32,
    got: u32,
    aborted: bool,
}

impl Caller {
    fn take(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Command(command) => self.begin(session, &command),
            Event::Data { task, offset, data, last } => {
                let work = self.work(task);
                assert!(!work.aborted && offset == work.got);
                work.got += data.len() as u32;
                assert!(work.got <= work.wanted && last == (work.got == work.wanted));
                if last {
                    self.end(session, task);
                }
            }
            Event::Aborted(task) => self.work(task).aborted = true,
            Event::Manage { id, .. } => session.managed(id, FunctionResult::COMPLETE),
            Event::SendTargets { id, .. } => session.tell_targets(id, &[]),
            Event::Pong | Event::LoggedOut => {}
        }
        let sent: Vec<_> = session.output().pieces().collect();
        self.sent = sent.concat();
    }

    fn begin(&mut self, session: &mut Session, command: &Command) {
        let wanted = u32::from(command.cdb[1]) * 16;
        let known = wanted.min(command.write_length);
        let work = Work { task: command.task, wanted: known, got: 0, aborted: false };
        self.under_way.push(work);
        assert!(self.under_way.len() <= usize::from(LIMITS.window + LIMITS.immediate_max));
        let taken = match command.cdb[0] % 8 {
            0 => return self.end(session, command.task),
            1 | 2 => session.take(command.task, wanted, Delivery::Whole),
            3 => session.take(command.task, wanted, Delivery::Pieces),
            4 => return self.finish(session),
            5 => return session.drain(),
            6 => return session.resume(),
            _ => return session.notify(Notice::LogoutRequest { within: 3 }),
        };
        if let Some(data) = taken {
            assert_eq!(data.len() as u32, known);
            self.end(session, command.task);
        }
    }

    /// Answers one command.
    fn end(&mut self, session: &mut Session, task: TaskId) {
        let at = self.under_way.iter().position(|work| work.task == task).expect("it was begun");
        let work = self.under_way.remove(at);
        let status = Status(work.wanted as u8 & 2);
        let sense =
            if status == Status::GOOD { Bytes::new() } else { Bytes::from_static(b"sense") };
        let outcome = Outcome { status, sense, transfers: u64::from(work.wanted) };
        session.respond(task, outcome, &[DataPart::Zeroes(u64::from(work.wanted))]);
    }

    /// Answers all commands.
    fn finish(&mut self, session: &mut Session) {
        while let Some(work) = self.under_way.first() {
            self.end(session, work.task);
        }
    }

    fn work(&mut self, task: TaskId) -> &mut Work {
        self.under_way.iter_mut().find(|work| work.task == task).expect("it was begun")
    }
}
