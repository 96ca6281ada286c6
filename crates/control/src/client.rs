//! Asks a control server: `get` and `post` of JSON, each within a time.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::api::ErrorBody;
use crate::api_error::one_line;
use crate::connection::{Connection, Idle, connect};
use crate::{BearerToken, ControlAddress, ControlError};

/// How long a request may take unless its caller says otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer in bytes.
const ANSWER_MAX: usize = 8 << 20;

/// A client of one control server. It connects when it is first asked and whenever it has to, and
/// keeps a few connections open. Dropping the future of a request closes its connection.
#[derive(Debug)]
pub struct ControlClient {
    address: ControlAddress,
    host: String,
    authorization: Option<HeaderValue>,
    idle: Idle,
}

impl ControlClient {
    /// A client of the server at `address`, which it does not talk to yet.
    pub fn new(address: ControlAddress, token: Option<&BearerToken>) -> Self {
        let host = match &address {
            ControlAddress::Tcp(endpoint) => endpoint.to_string(),
            ControlAddress::Unix(_) => "localhost".to_owned(),
        };
        let authorization = token.and_then(|token| {
            // A token is visible ASCII, which a header may hold.
            let mut value = HeaderValue::from_str(&token.header()).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self { address, host, authorization, idle: Idle::default() }
    }

    /// The server.
    pub fn address(&self) -> &ControlAddress {
        &self.address
    }

    /// Reads `path` (with its query, if any) within [`REQUEST_TIMEOUT`].
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ControlError> {
        self.get_within(path, REQUEST_TIMEOUT).await
    }

    /// Reads `path` within the given time: a long poll takes a longer one.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn get_within<T: DeserializeOwned>(
        &self,
        path: &str,
        within: Duration,
    ) -> Result<T, ControlError> {
        self.call(Method::GET, path, Bytes::new(), within).await
    }

    /// Sends `body` to `path` within [`REQUEST_TIMEOUT`]. An answer without content reads as
    /// `null`, thus as `()`.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn post<B, T>(&self, path: &str, body: &B) -> Result<T, ControlError>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        self.post_within(path, body, REQUEST_TIMEOUT).await
    }

    /// Sends `body` to `path` within the given time.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn post_within<B, T>(
        &self,
        path: &str,
        body: &B,
        within: Duration,
    ) -> Result<T, ControlError>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let body = serde_json::to_vec(body)
            .map_err(|error| self.protocol(path, format!("unwritable request: {error}")))?;
        self.call(Method::POST, path, body.into(), within).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<T, ControlError> {
        let request = self.request(method, path, body)?;
        let (status, answer) =
            timeout(within, self.exchange(path, request)).await.map_err(|_| {
                let (address, path) = (self.address.clone(), path.to_owned());
                ControlError::TimedOut { address, path, after: within }
            })??;
        if !status.is_success() {
            return Err(self.refused(path, status, &answer));
        }
        let answer: &[u8] = if answer.is_empty() { b"null" } else { &answer };
        serde_json::from_slice(answer)
            .map_err(|error| self.protocol(path, format!("unexpected answer: {error}")))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ControlError> {
        if !path.starts_with('/') {
            return Err(self.protocol(path, "a path begins with a slash".to_owned()));
        }
        let mut request = Request::builder()
            .uri(path)
            .header(HOST, &self.host)
            .header(ACCEPT, "application/json");
        if method != Method::GET {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request
            .method(method)
            .body(Full::new(body))
            .map_err(|error| self.protocol(path, format!("the path cannot be asked for: {error}")))
    }

    /// Sends the request and reads the whole answer. A kept connection may turn out to be closed:
    /// then the request goes over a new one, if it cannot have been carried out or only reads.
    async fn exchange(
        &self,
        path: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ControlError> {
        while let Some(mut kept) = self.idle.take().await {
            let again = (request.method() == Method::GET).then(|| request.clone());
            match kept.try_send_request(request).await {
                Ok(response) => return self.receive(path, kept, response).await,
                Err(mut failure) => match failure.take_message().or(again) {
                    Some(unsent) => request = unsent,
                    None => return Err(self.unreachable(lost(failure.into_error()))),
                },
            }
        }
        let mut fresh = connect(&self.address).await.map_err(|error| self.unreachable(error))?;
        let response =
            fresh.send_request(request).await.map_err(|error| self.unreachable(lost(error)))?;
        self.receive(path, fresh, response).await
    }

    async fn receive(
        &self,
        path: &str,
        connection: Connection,
        response: Response<Incoming>,
    ) -> Result<(StatusCode, Bytes), ControlError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let answer = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => self.protocol(path, format!("the answer has more than {ANSWER_MAX} bytes")),
            false => self.unreachable(io::Error::other(error)),
        })?;
        self.idle.keep(connection);
        Ok((status, answer.to_bytes()))
    }

    fn refused(&self, path: &str, status: StatusCode, answer: &[u8]) -> ControlError {
        let message = match serde_json::from_slice::<ErrorBody>(answer) {
            Ok(body) => one_line(&body.error),
            Err(_) => one_line(&String::from_utf8_lossy(answer)),
        };
        let (address, path) = (self.address.clone(), path.to_owned());
        ControlError::Refused { address, path, status, message }
    }

    fn unreachable(&self, source: io::Error) -> ControlError {
        ControlError::Unreachable { address: self.address.clone(), source }
    }

    fn protocol(&self, path: &str, reason: String) -> ControlError {
        let (address, path) = (self.address.clone(), path.to_owned());
        ControlError::Protocol { address, path, reason }
    }
}

/// The connection went away before the answer came.
fn lost(error: hyper::Error) -> io::Error {
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    io::Error::new(io::ErrorKind::ConnectionAborted, format!("{error}{cause}"))
}
