//! The target's side of a login (RFC 7143 section 6.3).
//!
//! ```text
//!   Opening --> Asked (the caller says whether the target is served)
//!                 |
//!                 +--> Negotiating: security stage, operational stage --> Over: a session
//!                 +--> Over: refused, or sent elsewhere
//! ```
//!
//! The caller feeds PDUs to [`Login::handle`], answers its one question with [`Login::answer`] and
//! sends what [`Login::output`] holds. This module does not know which targets exist, and has no
//! clock: how long a login may take is the caller's.

mod conversation;
mod introduction;
mod negotiating;
mod redirect;
mod security;

pub use conversation::{Admission, Established, Inquiry, LoginStep, Refusal, SessionKey};
use introduction::introduction;
use negotiating::Negotiating;
pub use redirect::redirect;
use security::Security;

use crate::frame::Pdu;
use crate::limits::LOGIN_REQUESTS_MAX;
use crate::negotiation::Negotiation;
use crate::numbers::{PortalGroup, Sequence, Serial, Tsih};
use crate::opcode::Opcode;
use crate::outbox::Outbox;
use crate::parameters::Offer;
use crate::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage};
use crate::session::SessionLimits;
use crate::text::{self, Gathered};

/// The one version of the protocol that there is (RFC 7143 section 11.12.4).
const VERSION: u8 = 0;

/// The login of one connection.
#[derive(Debug)]
pub struct Login {
    offer: Offer,
    portal_group: PortalGroup,
    /// How many commands the session will take at a time.
    window: u16,
    output: Outbox,
    phase: Phase,
    /// The first request.
    first: Option<LoginRequest>,
    /// The latest one.
    latest: Option<LoginRequest>,
    requests_seen: u32,
    gathered: Gathered,
    stat_sn: Serial,
}

#[derive(Debug)]
enum Phase {
    /// The text of the first request is not there whole.
    Opening,
    /// The caller was asked.
    Asked(Box<Asked>),
    /// The target is served.
    Negotiating(Box<Negotiating>),
    /// Nothing more will be taken.
    Over,
}

#[derive(Debug)]
struct Asked {
    request: LoginRequest,
    text: Vec<u8>,
    who: Inquiry,
}

impl Login {
    /// The login of a new connection to a portal of the group. The limits are those that the session
    /// will have.
    pub fn new(offer: Offer, portal_group: PortalGroup, limits: SessionLimits) -> Self {
        Self {
            offer,
            portal_group,
            window: limits.within_bounds().window,
            output: Outbox::new(),
            phase: Phase::Opening,
            first: None,
            latest: None,
            requests_seen: 0,
            gathered: Gathered::default(),
            stat_sn: Serial(0),
        }
    }

    /// What is to be sent to the initiator.
    pub const fn output(&mut self) -> &mut Outbox {
        &mut self.output
    }

    /// Goes on with the next PDU.
    ///
    /// # Panics
    /// When the question has not been answered, or the login is over.
    pub fn handle(&mut self, pdu: &Pdu) -> LoginStep {
        self.take(pdu).unwrap_or_else(|refusal| self.refuse(refusal))
    }

    /// Answers [`LoginStep::Ask`].
    ///
    /// # Panics
    /// When that was not asked, or a session is to have TSIH 0.
    pub fn answer(&mut self, admission: Admission) -> LoginStep {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let Phase::Asked(asked) = phase else { panic!("nothing was asked") };
        self.admit(*asked, admission).unwrap_or_else(|refusal| self.refuse(refusal))
    }

    fn take(&mut self, pdu: &Pdu) -> Result<LoginStep, Refusal> {
        let request = self.check(pdu)?;
        self.gathered.add(&pdu.data)?;
        if request.continued {
            self.respond(&request, LoginStatus::SUCCESS, false, Tsih(0), &[]);
            return Ok(LoginStep::ReadMore);
        }
        let text = self.gathered.take();
        match &self.phase {
            Phase::Opening => self.open(request, text),
            Phase::Negotiating(_) => self.negotiate(&request, &text),
            Phase::Asked(_) => panic!("the question has not been answered"),
            Phase::Over => panic!("the login is over"),
        }
    }

    /// What every request has to fulfil.
    fn check(&mut self, pdu: &Pdu) -> Result<LoginRequest, Refusal> {
        let opcode = pdu.header.opcode();
        if opcode != Opcode::LOGIN_REQUEST {
            return Err(Refusal::NotALogin(opcode));
        }
        let request = LoginRequest::decode(&pdu.header);
        self.latest = Some(request);
        self.requests_seen += 1;
        if self.requests_seen > LOGIN_REQUESTS_MAX {
            return Err(Refusal::TooManyRequests);
        }
        match &self.first {
            None => self.begin(&request)?,
            Some(first) if !continues(first, &request) => return Err(Refusal::Contradiction),
            Some(_) => {}
        }
        if request.current != self.stage(&request) || !is_step(&request) {
            return Err(Refusal::Stage);
        }
        Ok(request)
    }

    fn begin(&mut self, request: &LoginRequest) -> Result<(), Refusal> {
        if request.version_min > VERSION {
            return Err(Refusal::Version(request.version_min));
        }
        if request.tsih != Tsih(0) {
            return Err(Refusal::NoSuchSession(request.tsih));
        }
        self.first = Some(*request);
        self.stat_sn = request.expected_stat_sn;
        Ok(())
    }

    /// The stage in which requests have to be.
    fn stage(&self, request: &LoginRequest) -> Stage {
        match &self.phase {
            Phase::Negotiating(state) => state.stage,
            _ => self.first.as_ref().unwrap_or(request).current,
        }
    }

    fn open(&mut self, request: LoginRequest, text: Vec<u8>) -> Result<LoginStep, Refusal> {
        let who = introduction(&text, request.isid)?;
        self.phase = Phase::Asked(Box::new(Asked { request, text, who: who.clone() }));
        Ok(LoginStep::Ask(who))
    }

    fn admit(&mut self, asked: Asked, admission: Admission) -> Result<LoginStep, Refusal> {
        let Asked { request, text, who } = asked;
        let (tsih, chap) = match admission {
            Admission::Serve { tsih, chap } => (tsih, chap),
            Admission::Refuse(refusal) => return Err(refusal),
        };
        assert_ne!(tsih, Tsih(0), "a session's TSIH");
        self.phase = Phase::Negotiating(Box::new(Negotiating {
            tsih,
            stage: request.current,
            security: chap.map_or(Security::Open, Security::Wanted),
            negotiation: Negotiation::new(self.offer, who.session_type()),
            group_told: who.target.is_none(),
            segment_told: false,
            who,
        }));
        self.negotiate(&request, &text)
    }

    fn negotiate(&mut self, request: &LoginRequest, text: &[u8]) -> Result<LoginStep, Refusal> {
        let Phase::Negotiating(state) = &mut self.phase else { unreachable!("it was just set") };
        let pairs = text::parse(text)?;
        let mut answers = Vec::new();
        state.tell(self.portal_group, &mut answers);
        let ready = state.take(&pairs, request.transit, &mut answers)?;
        if !(request.transit && ready) {
            self.respond(request, LoginStatus::SUCCESS, false, Tsih(0), &answers);
            return Ok(LoginStep::ReadMore);
        }
        state.stage = request.next;
        if state.stage != Stage::FullFeature {
            self.respond(request, LoginStatus::SUCCESS, true, Tsih(0), &answers);
            return Ok(LoginStep::ReadMore);
        }
        if state.negotiation.lacks_digests() {
            return Err(Refusal::Digests);
        }
        let tsih = state.tsih;
        self.respond(request, LoginStatus::SUCCESS, true, tsih, &answers);
        Ok(self.establish())
    }

    fn establish(&mut self) -> LoginStep {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let Phase::Negotiating(state) = phase else { unreachable!("it was just used") };
        let first = self.first.expect("a login has a first request");
        LoginStep::Established(Box::new(Established {
            key: SessionKey {
                initiator: state.who.initiator,
                isid: first.isid,
                target: state.who.target,
                portal_group: self.portal_group,
            },
            alias: state.who.alias,
            account: state.security.account(),
            tsih: state.tsih,
            cid: first.cid,
            parameters: state.negotiation.parameters(),
            next_stat_sn: self.stat_sn,
            next_cmd_sn: first.cmd_sn,
        }))
    }

    fn refuse(&mut self, refusal: Refusal) -> LoginStep {
        self.phase = Phase::Over;
        if let (Some(status), Some(request)) = (refusal.status(), self.latest) {
            let mut answers = Vec::new();
            if let Refusal::MovedTemporarily(to) | Refusal::MovedPermanently(to) = &refusal {
                text::put(&mut answers, "TargetAddress", to.to_string());
            }
            self.respond(&request, status, false, Tsih(0), &answers);
        }
        LoginStep::Refused(refusal)
    }

    fn respond(
        &mut self,
        request: &LoginRequest,
        status: LoginStatus,
        transit: bool,
        tsih: Tsih,
        answers: &[u8],
    ) {
        let expected_cmd_sn = self.first.as_ref().unwrap_or(request).cmd_sn;
        let response = LoginResponse {
            transit,
            continued: false,
            current: request.current,
            next: if transit { request.next } else { Stage::Security },
            version_max: VERSION,
            version_active: VERSION,
            isid: request.isid,
            tsih,
            itt: request.itt,
            sequence: Sequence {
                stat_sn: self.stat_sn,
                expected_cmd_sn,
                max_cmd_sn: expected_cmd_sn.plus(u32::from(self.window) - 1),
            },
            status,
        };
        self.output.put_pdu(response.encode(), &[], answers);
        self.stat_sn = self.stat_sn.next();
    }
}

/// Whether a later request belongs to the first one.
fn continues(first: &LoginRequest, later: &LoginRequest) -> bool {
    (first.isid, first.tsih, first.itt, first.cid) == (later.isid, later.tsih, later.itt, later.cid)
}

/// Whether the flags are those of a request: only a whole text may end a stage, and only for a later
/// one.
fn is_step(request: &LoginRequest) -> bool {
    let LoginRequest { transit, continued, current, next, .. } = request;
    match (current, next) {
        (Stage::Security | Stage::Operational, _) if !transit => true,
        (Stage::Security, Stage::Operational | Stage::FullFeature) => !continued,
        (Stage::Operational, Stage::FullFeature) => !continued,
        _ => false,
    }
}
