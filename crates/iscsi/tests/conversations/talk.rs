//! An initiator that speaks to the target's machines over bytes in memory.

use blockferry_iscsi::pdu::{
    Attribute, DataOut, LoginRequest, LoginResponse, Request, Response, ScsiCommand, Stage,
};
use blockferry_iscsi::{
    Admission, Command, Decoder, Established, Event, Fault, Isid, Itt, Login, LoginStep, Lun,
    Offer, Outbox, Pdu, PortalGroup, Serial, Session, SessionLimits, TaskId, Tsih, Ttt,
};
use bytes::{Buf, Bytes, BytesMut};

/// Who the initiator is, unless a test says otherwise.
pub(crate) const INITIATOR: &str = "InitiatorName=iqn.2026-01.io.blockferry:initiator";
/// The target that there is.
pub(crate) const TARGET: &str = "TargetName=iqn.2026-01.io.blockferry:vol";

/// Key=value pairs as a text.
pub(crate) fn text(pairs: &[&str]) -> Vec<u8> {
    pairs.iter().flat_map(|pair| [pair.as_bytes(), b"\0"].concat()).collect()
}

/// The pairs of a text.
pub(crate) fn pairs(text: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(text).unwrap();
    text.split('\0').filter(|pair| !pair.is_empty()).map(str::to_owned).collect()
}

/// All PDUs that the outbox holds.
pub(crate) fn pdus(outbox: &mut Outbox, decoder: &mut Decoder) -> Vec<Pdu> {
    let length = outbox.remaining();
    let mut input = BytesMut::from(&outbox.copy_to_bytes(length)[..]);
    let mut pdus = Vec::new();
    while let Some(pdu) = decoder.decode(&mut input).unwrap() {
        pdus.push(pdu);
    }
    assert!(!decoder.is_inside(&input), "PDUs are sent whole");
    pdus
}

/// A login.
pub(crate) struct LoginTalk {
    pub(crate) login: Login,
    answers: Decoder,
}

impl LoginTalk {
    pub(crate) fn new() -> Self {
        Self::with(Offer::default(), SessionLimits::default())
    }

    pub(crate) fn with(offer: Offer, limits: SessionLimits) -> Self {
        Self { login: Login::new(offer, PortalGroup(1), limits), answers: Decoder::new() }
    }

    /// Sends one request.
    pub(crate) fn send(&mut self, request: &LoginRequest, text: &[u8]) -> LoginStep {
        let mut outbox = Outbox::new();
        outbox.put_pdu(request.encode(), &[], text);
        self.send_raw(&outbox.pieces().collect::<Vec<_>>().concat())
    }

    /// Sends the bytes of one request.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> LoginStep {
        let mut input = BytesMut::from(bytes);
        let pdu = Decoder::new().decode(&mut input).unwrap().expect("a whole PDU");
        assert!(input.is_empty(), "one PDU");
        self.login.handle(&pdu)
    }

    /// The one response that was sent, and its pairs.
    pub(crate) fn response(&mut self) -> (LoginResponse, Vec<String>) {
        let sent = pdus(self.login.output(), &mut self.answers);
        assert_eq!(sent.len(), 1, "one response for one request");
        (LoginResponse::decode(&sent[0].header), pairs(&sent[0].data))
    }

    /// Answers the question: the target is served.
    pub(crate) fn serve(&mut self) -> LoginStep {
        self.login.answer(Admission::Serve { tsih: Tsih(7), chap: None })
    }
}

/// A request that goes from the stage to the next one.
pub(crate) fn request(current: Stage, next: Stage) -> LoginRequest {
    LoginRequest {
        transit: true,
        continued: false,
        current,
        next,
        version_max: 0,
        version_min: 0,
        isid: Isid([0x80, 0, 0, 0, 0, 1]),
        tsih: Tsih(0),
        itt: Itt(1),
        cid: blockferry_iscsi::Cid(3),
        cmd_sn: Serial(100),
        expected_stat_sn: Serial(5),
    }
}

/// A login that goes straight to the session, with the pairs.
pub(crate) fn establish(pairs: &[&str], limits: SessionLimits) -> Established {
    let mut talk = LoginTalk::with(Offer::default(), limits);
    let step = talk.send(&request(Stage::Operational, Stage::FullFeature), &text(pairs));
    assert!(matches!(step, LoginStep::Ask(_)), "{step:?}");
    match talk.serve() {
        LoginStep::Established(established) => *established,
        step => panic!("{step:?}"),
    }
}

/// A session.
pub(crate) struct Talk {
    pub(crate) session: Session,
    pub(crate) cmd_sn: Serial,
    /// The tag that the next command will have.
    pub(crate) itt: u32,
    to_target: Decoder,
    to_initiator: Decoder,
    /// The last `MaxCmdSN` and the next `StatSN`, which every response is checked against.
    max_cmd_sn: Serial,
    stat_sn: Serial,
}

impl Talk {
    /// A session with the target, after a login with the operational keys.
    pub(crate) fn new(keys: &[&str]) -> Self {
        Self::with(keys, SessionLimits::default())
    }

    pub(crate) fn with(keys: &[&str], limits: SessionLimits) -> Self {
        Self::begin(establish(&[&[INITIATOR, TARGET], keys].concat(), limits), limits)
    }

    pub(crate) fn discovery() -> Self {
        let limits = SessionLimits::default();
        Self::begin(establish(&[INITIATOR, "SessionType=Discovery"], limits), limits)
    }

    fn begin(established: Established, limits: SessionLimits) -> Self {
        let parameters = established.parameters;
        let (mut to_target, mut to_initiator) = (Decoder::new(), Decoder::new());
        to_target.set(parameters.digests, parameters.target_segment_max);
        to_initiator.set(parameters.digests, parameters.initiator_segment_max);
        Self {
            cmd_sn: established.next_cmd_sn,
            stat_sn: established.next_stat_sn,
            max_cmd_sn: established.next_cmd_sn,
            session: Session::new(established, limits),
            itt: 10,
            to_target,
            to_initiator,
        }
    }

    pub(crate) fn send(&mut self, request: Request, data: &[u8]) -> Result<(), Fault> {
        self.send_with_ahs(request, &[], data)
    }

    pub(crate) fn send_with_ahs(
        &mut self,
        request: Request,
        ahs: &[u8],
        data: &[u8],
    ) -> Result<(), Fault> {
        let mut outbox = Outbox::new();
        outbox.set_digests(self.session.parameters().digests);
        outbox.put_pdu(request.encode(), ahs, data);
        for pdu in pdus(&mut outbox, &mut self.to_target) {
            self.session.handle(pdu)?;
        }
        Ok(())
    }

    /// All responses, whose numbers are those that have to come.
    pub(crate) fn responses(&mut self) -> Vec<(Response, Bytes)> {
        let sent = pdus(self.session.output(), &mut self.to_initiator);
        let decoded = sent.into_iter().map(|pdu| {
            let response = Response::decode(&pdu.header).expect("a target's PDU");
            self.check(&response);
            (response, pdu.data)
        });
        decoded.collect()
    }

    /// The one response there is.
    pub(crate) fn response(&mut self) -> (Response, Bytes) {
        let mut responses = self.responses();
        assert_eq!(responses.len(), 1, "{responses:?}");
        responses.remove(0)
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// The one command that was delivered.
    pub(crate) fn delivered(&mut self) -> Command {
        match self.events().as_slice() {
            [Event::Command(command)] => command.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The next command; its numbers are used up.
    pub(crate) fn command(&mut self) -> ScsiCommand {
        let command = ScsiCommand {
            immediate: false,
            last: true,
            read: false,
            write: false,
            attribute: Attribute::Simple,
            lun: Lun(0),
            itt: Itt(self.itt),
            expected_length: 0,
            cmd_sn: self.cmd_sn,
            expected_stat_sn: self.stat_sn,
            cdb: [0; 16],
        };
        self.itt += 1;
        self.cmd_sn = self.cmd_sn.next();
        command
    }

    /// Sends a command that reads or writes nothing, and says how it was delivered.
    pub(crate) fn plain(&mut self) -> TaskId {
        let command = self.command();
        self.send(Request::ScsiCommand(command), b"").unwrap();
        self.delivered().task
    }

    /// Sends a read of the length.
    pub(crate) fn read(&mut self, length: u32) -> Command {
        let command = ScsiCommand { read: true, expected_length: length, ..self.command() };
        self.send(Request::ScsiCommand(command), b"").unwrap();
        self.delivered()
    }

    /// Sends a write of the length with the immediate data. All of it comes after R2Ts.
    pub(crate) fn write(&mut self, length: u32, immediate: &[u8]) -> Command {
        let command = ScsiCommand { write: true, expected_length: length, ..self.command() };
        self.send(Request::ScsiCommand(command), immediate).unwrap();
        self.delivered()
    }

    fn check(&mut self, response: &Response) {
        let (sequence, has_status) = match response {
            Response::NopIn(nop) => (nop.sequence, nop.itt != Itt::NONE),
            Response::Scsi(pdu) => (pdu.sequence, true),
            Response::Management(pdu) => (pdu.sequence, true),
            Response::Login(pdu) => (pdu.sequence, true),
            Response::Text(pdu) => (pdu.sequence, true),
            Response::DataIn(pdu) => (pdu.sequence, pdu.end.is_some()),
            Response::Logout(pdu) => (pdu.sequence, true),
            Response::R2t(pdu) => (pdu.sequence, false),
            Response::Async(pdu) => (pdu.sequence, true),
            Response::Reject(pdu) => (pdu.sequence, true),
        };
        assert_eq!(sequence.stat_sn, self.stat_sn, "{response:?}");
        if has_status {
            self.stat_sn = self.stat_sn.next();
        }
        assert!(!sequence.max_cmd_sn.precedes(self.max_cmd_sn), "the window went back");
        self.max_cmd_sn = sequence.max_cmd_sn;
    }
}

/// A piece of data that an R2T asked for, or that nobody did.
pub(crate) fn data_out(itt: Itt, ttt: Ttt, data_sn: u32, offset: u32, last: bool) -> Request {
    Request::DataOut(DataOut {
        last,
        lun: Lun(0),
        itt,
        ttt,
        expected_stat_sn: Serial(0),
        data_sn,
        offset,
    })
}
