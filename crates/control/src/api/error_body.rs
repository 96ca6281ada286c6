//! What a refusal says.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every answer that is a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What failed, on what, and what was expected, in one line.
    pub error: String,
}
