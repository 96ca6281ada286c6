//! The messages of the control API, as JSON. Paths stand beside each type.
//!
//! Identities (migration, token, session) are hexadecimal text; addresses of the data side are NBD
//! URIs without an export (`nbd://HOST:PORT`, `nbd+unix:///?socket=PATH`), those of the control side
//! are `http://HOST:PORT` or `unix:/path`. Sizes, addresses and cursors are bytes.

mod copy;
mod error_body;
mod initiators;
mod migration;
mod route;
mod volume;

pub use copy::{CopyHalt, CopyHaltKind, CopyReply, CopyRequest};
pub use error_body::ErrorBody;
pub use initiators::{AccountProof, Initiators};
pub use migration::{
    AbortRequest, AttachReply, AttachRequest, CheckpointReply, CheckpointRequest, CommitReply,
    CommitRequest, DiskReply, DiskRequest, DiskState, FinishCheckpoint, OwnReply, OwnRequest,
    PartyAddress, PauseRequest, PromoteRequest, ReadyReply, ReadyRequest, ReceiveReply,
    ReceiveRequest, ReservedQuery, ReservedReply, RetireReply, SendReply, SendRequest, SettleReply,
    SettleRequest, SlowDestination, TermReply, TermRequest, VerifyReply, VerifyRequest,
};
pub use route::{Arrangement, MoveReply, PrepareReply, PrepareRequest, RouteStatus};
pub use volume::{DigestStatus, MigrationStatus, ProgramStatus, VolumeRole, VolumeStatus};
