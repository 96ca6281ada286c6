//! What a login asks its caller, what it is told, and how it ends.

use crate::chap::{Chap, ChapFailure};
use crate::limits::LOGIN_REQUESTS_MAX;
#[cfg(doc)]
use crate::login::Login;
use crate::name::{BadName, IscsiName};
use crate::numbers::{Cid, Isid, PortalGroup, Serial, Tsih};
use crate::opcode::Opcode;
use crate::parameters::{Parameters, SessionType};
use crate::pdu::LoginStatus;
use crate::portal::PortalAddress;
use crate::text::BadText;

/// Who wants what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// Who asks; nobody has proved it yet.
    pub initiator: IscsiName,
    /// What the initiator calls itself for a person, without control characters.
    pub alias: Option<String>,
    /// The target; `None` for a discovery session.
    pub target: Option<IscsiName>,
    /// The initiator's part of the session's identity.
    pub isid: Isid,
}

/// The answer to an [`Inquiry`].
#[derive(Clone, Debug)]
pub enum Admission {
    /// Let it in.
    Serve {
        /// The new session's handle: not 0, and not that of another session of the target.
        tsih: Tsih,
        /// Asks the initiator for its secret; `None` lets it in as it is.
        chap: Option<Chap>,
    },
    /// Turn it away: one of the refusals that are the caller's to give, such as
    /// [`Refusal::NotFound`] or [`Refusal::MovedTemporarily`].
    Refuse(Refusal),
}

/// What the caller has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginStep {
    /// Send the output, then give the next PDU.
    ReadMore,
    /// Answer with [`Login::answer`].
    Ask(Inquiry),
    /// End any other session with the same key: this one takes its place (RFC 7143 section 6.3.5).
    /// Wait until that one is idle, so that none of its writes is executed after one of this session.
    /// Then send the output and begin the session.
    Established(Box<Established>),
    /// Send the output, then close.
    Refused(Refusal),
}

/// What makes two sessions the same to a target: who, from where, to what, by which portals (RFC
/// 7143 section 4.4.3.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The initiator's name.
    pub initiator: IscsiName,
    /// The initiator's part.
    pub isid: Isid,
    /// The target; `None` for a discovery session.
    pub target: Option<IscsiName>,
    /// The portal group of the connection.
    pub portal_group: PortalGroup,
}

/// A session that a login has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// Which session it is.
    pub key: SessionKey,
    /// What the initiator calls itself for a person.
    pub alias: Option<String>,
    /// The name for whose secret the initiator has a proof; `None` where none was asked for.
    pub account: Option<String>,
    /// The session's handle.
    pub tsih: Tsih,
    /// The one connection's number.
    pub cid: Cid,
    /// What was negotiated.
    pub parameters: Parameters,
    /// The number of the next status.
    pub next_stat_sn: Serial,
    /// The number of the first command.
    pub next_cmd_sn: Serial,
}

impl Established {
    /// What the session is.
    pub const fn session_type(&self) -> SessionType {
        match self.key.target {
            Some(_) => SessionType::Normal,
            None => SessionType::Discovery,
        }
    }
}

/// Why a login ends without a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The target is elsewhere for now.
    #[error("the target has moved to {0} for now")]
    MovedTemporarily(PortalAddress),
    /// The target is elsewhere for good.
    #[error("the target has moved to {0}")]
    MovedPermanently(PortalAddress),
    /// There is no such target.
    #[error("there is no such target")]
    NotFound,
    /// There was such a target.
    #[error("the target has been removed")]
    Removed,
    /// The initiator may not use the target.
    #[error("the initiator may not use the target")]
    NotAllowed,
    /// The target cannot be served now.
    #[error("the target cannot be served now")]
    Busy,
    /// The target has no room for another session.
    #[error("there is no room for another session")]
    OutOfResources,
    /// Something else came than a Login Request, which leaves no way to answer it.
    #[error("expected a login, got a {0}")]
    NotALogin(Opcode),
    /// More than [`LOGIN_REQUESTS_MAX`] requests.
    #[error("the login takes more than {LOGIN_REQUESTS_MAX} requests")]
    TooManyRequests,
    /// The initiator speaks no version that there is.
    #[error("the initiator speaks no version below {0}")]
    Version(u8),
    /// The session to join does not exist: one has a single connection here.
    #[error("there is no session {} to join", .0.0)]
    NoSuchSession(Tsih),
    /// Another ISID, TSIH, tag or connection than the first request has.
    #[error("a request of the login contradicts the first one")]
    Contradiction,
    /// A stage that is not the current one, or cannot follow.
    #[error("a request of the login names a stage that cannot come now")]
    Stage,
    /// No text of the protocol.
    #[error(transparent)]
    Text(#[from] BadText),
    /// A key that has to be there.
    #[error("the login has no {0}")]
    Missing(&'static str),
    /// The initiator's name is none.
    #[error("the initiator's name: {0}")]
    InitiatorName(BadName),
    /// Neither `Normal` nor `Discovery`.
    #[error("the session is to be of a type that does not exist")]
    SessionType,
    /// The initiator does not offer what it is asked for.
    #[error("the initiator offers no authentication that will do")]
    AuthenticationMethod,
    /// The initiator is not whom it says it is.
    #[error(transparent)]
    Authentication(#[from] ChapFailure),
    /// The initiator does not want the digests that are demanded here.
    #[error("the initiator does not want the digests that are demanded")]
    Digests,
}

impl Refusal {
    /// How the initiator is told (RFC 7143 section 11.13.5). `None` when it cannot be.
    pub const fn status(&self) -> Option<LoginStatus> {
        Some(match self {
            Self::MovedTemporarily(_) => LoginStatus::MOVED_TEMPORARILY,
            Self::MovedPermanently(_) => LoginStatus::MOVED_PERMANENTLY,
            Self::NotFound => LoginStatus::NOT_FOUND,
            Self::Removed => LoginStatus::REMOVED,
            Self::NotAllowed => LoginStatus::NOT_ALLOWED,
            Self::Busy => LoginStatus::SERVICE_UNAVAILABLE,
            Self::OutOfResources => LoginStatus::OUT_OF_RESOURCES,
            Self::NotALogin(_) => return None,
            Self::Version(_) => LoginStatus::UNSUPPORTED_VERSION,
            Self::NoSuchSession(_) => LoginStatus::NO_SUCH_SESSION,
            Self::Stage => LoginStatus::INVALID_REQUEST,
            Self::Missing(_) => LoginStatus::MISSING_PARAMETER,
            Self::SessionType => LoginStatus::SESSION_TYPE,
            Self::AuthenticationMethod | Self::Authentication(_) => {
                LoginStatus::AUTHENTICATION_FAILED
            }
            Self::TooManyRequests
            | Self::Contradiction
            | Self::Text(_)
            | Self::InitiatorName(_)
            | Self::Digests => LoginStatus::INITIATOR_ERROR,
        })
    }
}
