//! What a server of this crate says of itself, whatever its program serves.

use axum::{Json, Router};
use blockferry_control::api::{OwnReply, OwnRequest};
use blockferry_control::{ApiError, ControlClient, ControlServer, openapi};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Own it.
#[utoipa::path(
    post, path = "/own",
    responses((status = 200, description = "Owned", body = OwnReply), ApiError)
)]
async fn own(Json(request): Json<OwnRequest>) -> Json<OwnReply> {
    Json(OwnReply { generation: request.generation })
}

/// Say nothing.
#[utoipa::path(get, path = "/nothing", responses((status = 200, description = "Nothing", body = ())))]
async fn nothing() -> Json<()> {
    Json(())
}

async fn document(routes: OpenApiRouter) -> Value {
    let server = ControlServer::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let address = server.address().to_control(None).unwrap();
    tokio::spawn(server.serve(routes, CancellationToken::new()));
    ControlClient::new(address, None).get("/openapi.json").await.unwrap()
}

async fn of_a_program() -> Value {
    let routes = openapi::routes_of("program").routes(routes!(own)).routes(routes!(nothing));
    document(routes).await
}

fn statuses(document: &Value, method: &str, path: &str) -> Vec<String> {
    let responses = document["paths"][path][method]["responses"].as_object();
    responses.expect("an operation").keys().cloned().collect()
}

#[tokio::test]
async fn liveness_and_the_document_itself_are_in_every_document() {
    for document in [document(Router::new().into()).await, of_a_program().await] {
        assert_eq!(statuses(&document, "get", "/healthz"), ["200", "403"], "no token is needed");
        assert_eq!(statuses(&document, "get", "/openapi.json"), ["200", "401", "403"]);
        assert!(document["components"]["schemas"]["ErrorBody"].is_object());
    }
}

#[tokio::test]
async fn what_the_guards_refuse_and_what_the_handler_refuses_is_in_the_document() {
    let document = of_a_program().await;
    let expected = ["200", "400", "401", "403", "404", "408", "409", "413", "415", "422", "500"];
    assert_eq!(statuses(&document, "post", "/own"), expected);
    let responses = &document["paths"]["/own"]["post"]["responses"];
    for status in &expected[1..] {
        let schema = &responses[status]["content"]["application/json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/ErrorBody", "{status}");
    }
    let forbidden = responses["403"]["description"].as_str().unwrap();
    assert!(forbidden.contains("token"), "the handler's own words are kept: {forbidden}");
    assert_eq!(statuses(&document, "get", "/nothing"), ["200", "401", "403"]);
}

#[tokio::test]
async fn a_document_speaks_of_json_and_not_of_rust() {
    let document = of_a_program().await;
    let nothing = &document["paths"]["/nothing"]["get"]["responses"]["200"];
    assert_eq!(nothing["content"]["application/json"]["schema"]["type"], "null");
    let description = &document["components"]["schemas"]["OwnReply"]["description"];
    assert_eq!(description, "Answer to `OwnRequest`.");
}
