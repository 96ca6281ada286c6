//! Commands of a session, as they come out of the protocol: for tests of what is done with them.

use blockferry_iscsi::pdu::{Attribute, LoginRequest, ScsiCommand};
use blockferry_iscsi::{
    Admission, Command, Decoder, Delivery, Event, Isid, Itt, Login, LoginStep, Lun, Offer, Outbox,
    Pdu, Pieces, PortalGroup, Serial, Session, SessionLimits, Tsih,
};
use bytes::BytesMut;

/// A session that has just begun.
pub(crate) fn session() -> Session {
    let limits = SessionLimits::default();
    let mut login = Login::new(Offer::default(), PortalGroup(1), limits);
    let request = LoginRequest::straight(Isid([0x80, 0, 0, 0, 0, 1]), Itt(0), Serial(0));
    let text = b"InitiatorName=iqn.2026-01.test:a\0TargetName=iqn.2026-01.test:vol\0";
    login.handle(&pdu(|outbox| outbox.put_pdu(request.encode(), &[], text)));
    match login.answer(Admission::Serve { tsih: Tsih(1), chap: None }) {
        LoginStep::Established(established) => Session::new(*established, limits),
        step => panic!("no session: {step:?}"),
    }
}

/// Commands, in the order in which they came, that read so many bytes.
pub(crate) fn reads(of: &[(Attribute, u32)]) -> Vec<Command> {
    let mut session = session();
    let numbered = (0..).zip(of);
    numbered
        .map(|(number, &(attribute, length))| {
            let read =
                ScsiCommand { read: true, attribute, expected_length: length, ..any(number) };
            send(&mut session, &read, &[])
        })
        .collect()
}

/// Data of a write.
pub(crate) fn written(data: &[u8]) -> Pieces {
    let mut session = session();
    let length = u32::try_from(data.len()).expect("a short write");
    let write = ScsiCommand { write: true, expected_length: length, ..any(0) };
    let command = send(&mut session, &write, data);
    session.take(command.task, length, Delivery::Whole).expect("all of it has come")
}

fn any(number: u32) -> ScsiCommand {
    ScsiCommand {
        immediate: false,
        last: true,
        read: false,
        write: false,
        attribute: Attribute::Simple,
        lun: Lun(0),
        itt: Itt(number),
        expected_length: 0,
        cmd_sn: Serial(number),
        expected_stat_sn: Serial(0),
        cdb: [0; 16],
    }
}

fn send(session: &mut Session, command: &ScsiCommand, data: &[u8]) -> Command {
    let pdu = pdu(|outbox| outbox.put_pdu(command.encode(), &[], data));
    session.handle(pdu).expect("a command that may come");
    match session.poll_event() {
        Some(Event::Command(command)) => command,
        event => panic!("no command: {event:?}"),
    }
}

/// What somebody has put into an outbox.
fn pdu(put: impl FnOnce(&mut Outbox)) -> Pdu {
    let mut outbox = Outbox::new();
    put(&mut outbox);
    let mut bytes = BytesMut::new();
    outbox.pieces().for_each(|piece| bytes.extend_from_slice(piece));
    Decoder::new().decode(&mut bytes).expect("our own bytes").expect("a whole PDU")
}
