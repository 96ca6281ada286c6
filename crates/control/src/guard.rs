//! What every request passes before a handler sees it, and every answer on its way out.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http_body_util::LengthLimitError;
use tokio::time::timeout;

use crate::{ApiError, BearerToken};

/// Largest request body in bytes.
pub const BODY_MAX: usize = 64 << 10;

/// A body has to be there by then, or a stalled client would hold a connection for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Liveness; needs no token.
const HEALTH_PATH: &str = "/healthz";

/// The router with the guards before it.
pub(crate) fn guarded(router: Router, token: Option<BearerToken>) -> Router {
    let router = router
        .layer(middleware::from_fn(to_its_end))
        .layer(middleware::from_fn(whole_body))
        .layer(middleware::from_fn(no_web_page));
    let router = match token.map(Arc::new) {
        Some(token) => router.layer(middleware::from_fn(move |request: Request, next: Next| {
            authorized(Arc::clone(&token), request, next)
        })),
        None => router,
    };
    router.layer(middleware::map_response(json_error))
}

async fn authorized(token: Arc<BearerToken>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION);
    let right = shown.is_some_and(|value| token.is_shown_by(value.as_bytes()));
    if right || request.uri().path() == HEALTH_PATH {
        return next.run(request).await;
    }
    let reason = match shown {
        Some(_) => "this is not the token of this server; check --token-file",
        None => "this server wants a token; give it with --token-file",
    };
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, reason).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// A web page that somebody on this machine looks at may send requests to loopback addresses, where
/// no token protects. Browsers say so in `Origin`; programs do not send it.
async fn no_web_page(request: Request, next: Next) -> Response {
    match request.headers().contains_key(header::ORIGIN) {
        true => ApiError::forbidden("requests from web pages are refused").into_response(),
        false => next.run(request).await,
    }
}

/// A handler runs to its end although its caller has gone: no step of a migration is cut in half by
/// the death of whoever asked for it.
async fn to_its_end(request: Request, next: Next) -> Response {
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => ApiError::internal(error.to_string()).into_response(),
        },
    }
}

/// Handlers see a body only once it is there, within its limits of length and time.
async fn whole_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let refusal = match timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => return next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(error)) if is_too_long(&error) => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a request's body has at most {BODY_MAX} bytes"),
        ),
        Ok(Err(_)) => ApiError::bad_request("the request's body was cut off"),
        Err(_) => ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the request's body did not arrive within {} s", BODY_TIMEOUT.as_secs()),
        ),
    };
    refusal.into_response()
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>())
}

/// Refusals of the framework (no such path, wrong method, body that is not the JSON expected) are
/// texts; here they take the form of all others.
async fn json_error(response: Response) -> Response {
    let status = response.status();
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, BODY_MAX).await.unwrap_or_default();
    let message = match String::from_utf8_lossy(&text).trim() {
        "" => status.canonical_reason().unwrap_or("refused").to_lowercase(),
        text => text.to_owned(),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    let mut response = ApiError::new(status, message).into_response();
    response.headers_mut().extend(parts.headers);
    response
}
