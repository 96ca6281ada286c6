//! How a handler refuses: a status and one line, as `{"error": "one line"}`.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa::IntoResponses;
use utoipa::openapi;

use crate::api::ErrorBody;
use crate::openapi::refusal;

/// Longest line that a refusal carries, in characters: a screen's worth.
const MESSAGE_MAX: usize = 1000;

/// What the steps of a migration are refused with, for the document of the API.
const REFUSALS: [(u16, &str); 5] = [
    (400, "The request makes no sense"),
    (403, "Not with this token; or a request from a web page"),
    (404, "There is nothing of this name"),
    (409, "Not in this state, or not by you: an older term, another migration, another run"),
    (500, "Something failed here"),
];

/// A refusal: what the client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({status})")]
pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    /// A refusal with `status`; the message says what was expected, in one line.
    pub fn new(status: StatusCode, message: impl AsRef<str>) -> Self {
        Self { status, message: one_line(message.as_ref()) }
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 403: not with this token.
    pub fn forbidden(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404: there is nothing of this name.
    pub fn not_found(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 409: not in this state.
    pub fn conflict(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 503: not now; the same request may succeed later.
    pub fn unavailable(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// 500: something failed here.
    pub fn internal(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The line.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.message })).into_response()
    }
}

impl IntoResponses for ApiError {
    fn responses() -> BTreeMap<String, openapi::RefOr<openapi::Response>> {
        REFUSALS.map(|(status, description)| (status.to_string(), refusal(description))).into()
    }
}

/// The text without line breaks and other control characters, and not too long for a log.
pub(crate) fn one_line(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_always_one_bounded_line() {
        let error = ApiError::conflict(format!("first\nsecond\x1b[31m{}\n", "x".repeat(5000)));
        assert!(error.message().starts_with("first second [31mx"));
        assert_eq!(error.message().chars().count(), MESSAGE_MAX);
    }
}
