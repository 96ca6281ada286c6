//! What the destination has to know of a volume's initiators before it moves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/volumes/NAME/initiators` of a source that serves iSCSI: who uses the volume, and whom it lets
/// in. Secrets do not travel: what can be compared is what each makes of a challenge, as in a login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Initiators {
    /// Initiators that are logged in to the volume.
    pub logged_in: u64,
    /// The challenge, new each time; hexadecimal.
    pub challenge: String,
    /// Accounts of the initiators that may log in; without any, everybody may.
    pub accounts: Vec<AccountProof>,
    /// How the source proves itself to initiators that ask it.
    pub target: Option<AccountProof>,
}

/// An account, by what its secret makes of the challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountProof {
    /// Name of the account.
    pub name: String,
    /// The response of CHAP (RFC 1994 section 4.1), with identifier 0; hexadecimal.
    pub proof: String,
}
