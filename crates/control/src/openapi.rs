//! `/openapi.json`: what a server answers, told by the very list of routes that it serves, so that
//! the two cannot disagree. What every server of this crate answers besides is added here.

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use bytes::Bytes;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Content, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, Response,
    ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::ErrorBody;

/// An SPDX expression.
const LICENSE: &str = env!("CARGO_PKG_LICENSE");

/// What holds for all messages.
const CONVENTIONS: &str = "\
    Identities (migration, token, session) are hexadecimal text. Addresses of the data side are \
    NBD URIs without an export, those of the control side `http://HOST:PORT` or `unix:/path`. \
    Sizes, addresses and cursors are bytes. The steps of a migration are idempotent: a repeated \
    call with the same content answers the same.";

/// Name of the security scheme.
const TOKEN: &str = "token";

/// Refusals by what stands before every handler.
const BEFORE_ALL: [(u16, &str); 2] =
    [(401, "No token, or not the server's"), (403, "Requests from web pages are refused")];

/// The same for requests that have a body.
const BEFORE_BODIES: [(u16, &str); 4] = [
    (408, "The body did not arrive in time"),
    (413, "The body is too long"),
    (415, "The body is not said to be JSON"),
    (422, "The body is not the message expected"),
];

/// What is said in terms of Rust and in those of JSON: links to types, and the answer `()`.
const IN_JSON: [(&str, &str); 3] =
    [("[`", "`"), ("`]", "`"), (r#"{"default":null}"#, r#"{"type":"null"}"#)];

/// An empty list of routes of a program. What is added to it with [`utoipa_axum::routes`] is both
/// served and described.
pub fn routes_of<S>(program: &str) -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let license = LicenseBuilder::new().name(LICENSE).identifier(Some(LICENSE)).build();
    let info = InfoBuilder::new()
        .title(program)
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(CONVENTIONS))
        .license(Some(license))
        .build();
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build())
}

/// The routes with those that every server has, one of which describes them all.
pub(crate) fn described(routes: OpenApiRouter) -> Router {
    let routes = routes.with_state(()).routes(routes!(healthz)).routes(routes!(openapi));
    let (router, mut document) = routes.split_for_parts();
    add_shared(&mut document);
    document.paths.paths.values_mut().flat_map(operations).for_each(add_refusals);
    router.with_state(Document::new(&document))
}

/// A refusal with this meaning, for the document.
pub(crate) fn refusal(description: &str) -> RefOr<Response> {
    let content = Content::new(Some(Ref::from_schema_name(ErrorBody::name())));
    ResponseBuilder::new().description(description).content("application/json", content).into()
}

/// Adds what all operations share: how they are refused, and the token, which not every server wants.
fn add_shared(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    components.schemas.insert(ErrorBody::name().into(), ErrorBody::schema());
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("opaque")
        .description(Some("Needed where the server was started with `--token-file`."));
    components.add_security_scheme(TOKEN, SecurityScheme::Http(token.build()));
    document.security =
        Some(vec![SecurityRequirement::default(), SecurityRequirement::new(TOKEN, [""; 0])]);
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post].into_iter().flatten()
}

/// Adds what may be answered before the handler is asked; the handler's own words go first.
fn add_refusals(operation: &mut Operation) {
    let before_body: &[_] = if operation.request_body.is_some() { &BEFORE_BODIES } else { &[] };
    let always = if operation.security.is_some() { &BEFORE_ALL[1..] } else { &BEFORE_ALL };
    for (status, description) in always.iter().chain(before_body) {
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_string()).or_insert_with(|| refusal(description));
    }
}

/// The document as it is sent.
#[derive(Clone)]
struct Document(Bytes);

impl Document {
    fn new(document: &OpenApi) -> Self {
        let json = document.to_json().expect("a document that was built of its own types");
        let in_json = |text: String, (rust, json): &(&str, &str)| text.replace(rust, json);
        Self(IN_JSON.iter().fold(json, in_json).into())
    }
}

/// Whether the program is alive; needs no token.
#[utoipa::path(
    get, path = "/healthz", security(()),
    responses((status = 200, description = "`ok`", body = str, content_type = "text/plain"))
)]
async fn healthz() -> &'static str {
    "ok\n"
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
async fn openapi(State(Document(json)): State<Document>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], json)
}
