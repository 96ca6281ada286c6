//! Client and server of this crate over real sockets.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use blockferry_control::{
    ApiError, BODY_MAX, BearerToken, ControlClient, ControlError, ControlServer, ListenAddress,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair {
    a: u32,
    b: String,
}

fn router() -> Router {
    Router::new()
        .route("/pair", get(async |Query(pair): Query<Pair>| Json(pair)))
        .route("/echo", post(async |Json(pair): Json<Pair>| Json(pair)))
        .route("/nothing", post(async |Json(()): Json<()>| StatusCode::NO_CONTENT))
        .route("/conflict", get(async || ApiError::conflict("the volume is\nbusy")))
        .route("/never", get(async || std::future::pending::<()>().await))
}

struct Running {
    address: ListenAddress,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(address: &str, token: Option<BearerToken>, router: Router) -> Running {
    let server = ControlServer::bind(&address.parse().unwrap(), token).await.unwrap();
    let address = server.address().clone();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.serve(router.into(), shutdown.clone()));
    Running { address, shutdown, task }
}

impl Running {
    fn client(&self, token: Option<&BearerToken>) -> ControlClient {
        ControlClient::new(self.address.to_control(None).unwrap(), token)
    }
}

fn token(dir: &Path, secret: &str) -> BearerToken {
    use std::os::unix::fs::OpenOptionsExt;
    let path = dir.join(secret);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, secret.as_bytes()).unwrap();
    BearerToken::read(&path).unwrap()
}

fn refusal(error: ControlError) -> (u16, String) {
    match error {
        ControlError::Refused { status, message, .. } => (status.as_u16(), message),
        other => panic!("expected a refusal, got {other}"),
    }
}

#[tokio::test]
async fn requests_and_answers_pass_over_tcp_and_unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    for address in ["127.0.0.1:0", &format!("unix:{}/control", dir.path().display())] {
        let server = start(address, None, router()).await;
        let client = server.client(None);
        let pair = Pair { a: 7, b: "seven".to_owned() };
        for _ in 0..3 {
            assert_eq!(client.get::<Pair>("/pair?a=7&b=seven").await.unwrap(), pair);
            assert_eq!(client.post::<_, Pair>("/echo", &pair).await.unwrap(), pair);
        }
        client.post::<_, ()>("/nothing", &()).await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_arrives_as_one_line_with_its_status() {
    let server = start("127.0.0.1:0", None, router()).await;
    let client = server.client(None);
    let error = client.get::<Pair>("/conflict").await.unwrap_err();
    let text = error.to_string();
    assert_eq!(refusal(error), (409, "the volume is busy".to_owned()));
    assert!(text.contains("/conflict") && text.contains("http://127.0.0.1:"), "{text}");

    assert_eq!(refusal(client.get::<Pair>("/absent").await.unwrap_err()).0, 404);
    assert_eq!(refusal(client.post::<_, Pair>("/pair", &()).await.unwrap_err()).0, 405);
    let (status, message) = refusal(client.post::<_, Pair>("/echo", "text").await.unwrap_err());
    assert_eq!(status, 422);
    assert!(message.contains("expected struct Pair"), "{message}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_the_limit_itself_is_not() {
    let server = start("127.0.0.1:0", None, router()).await;
    let client = server.client(None);
    let frame = serde_json::to_vec(&Pair { a: 0, b: String::new() }).unwrap().len();
    let mut pair = Pair { a: 0, b: "x".repeat(BODY_MAX - frame) };
    assert_eq!(client.post::<_, Pair>("/echo", &pair).await.unwrap(), pair);
    pair.b.push('x');
    let (status, message) = refusal(client.post::<_, Pair>("/echo", &pair).await.unwrap_err());
    assert_eq!(status, 413);
    assert!(message.contains("65536 bytes"), "{message}");
}

#[tokio::test]
async fn with_a_token_every_request_but_the_liveness_check_has_to_show_it() {
    let dir = tempfile::tempdir().unwrap();
    let right = token(dir.path(), "right-right-right-right-right");
    let wrong = token(dir.path(), "wrong-wrong-wrong-wrong-wrong");
    let server = start("127.0.0.1:0", Some(right.clone()), router()).await;
    let path = "/pair?a=1&b=x";
    server.client(Some(&right)).get::<Pair>(path).await.unwrap();
    for (client, hint) in
        [(server.client(None), "wants a token"), (server.client(Some(&wrong)), "not the token")]
    {
        let (status, message) = refusal(client.get::<Pair>(path).await.unwrap_err());
        assert_eq!(status, 401);
        assert!(message.contains(hint), "{message}");
        for path in ["/absent", "/openapi.json"] {
            assert_eq!(refusal(client.get::<Pair>(path).await.unwrap_err()).0, 401);
        }
        let alive = client.get::<Pair>("/healthz").await.unwrap_err();
        assert!(matches!(alive, ControlError::Protocol { .. }), "not JSON, but answered: {alive}");
    }
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused_without_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let error = ControlServer::bind(&"0.0.0.0:0".parse().unwrap(), None).await.unwrap_err();
    assert!(error.to_string().contains("--token-file"), "{error}");
    let secret = token(dir.path(), "0123456789abcdef0123456789abcdef");
    ControlServer::bind(&"0.0.0.0:0".parse().unwrap(), Some(secret)).await.unwrap();
    ControlServer::bind(&"[::1]:0".parse().unwrap(), None).await.unwrap();
}

#[tokio::test]
async fn a_request_under_way_is_answered_when_the_server_shuts_down() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (entered, release) = (Arc::clone(&entered), Arc::clone(&release));
        async move || {
            entered.notify_one();
            release.notified().await;
            Json(5)
        }
    };
    let server = start("127.0.0.1:0", None, Router::new().route("/slow", get(handler))).await;
    let client = server.client(None);
    let request = tokio::spawn(async move { client.get::<u32>("/slow").await });
    entered.notified().await;
    server.shutdown.cancel();
    release.notify_one();
    assert_eq!(request.await.unwrap().unwrap(), 5);
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let entered = Arc::new(Notify::new());
    let handler = {
        let entered = Arc::clone(&entered);
        async move || {
            entered.notify_one();
            std::future::pending::<()>().await
        }
    };
    let server = start("127.0.0.1:0", None, Router::new().route("/stuck", get(handler))).await;
    let client = server.client(None);
    let request = tokio::spawn(async move { client.get::<u32>("/stuck").await });
    entered.notified().await;
    tokio::time::pause();
    server.shutdown.cancel();
    server.task.await.unwrap();
    assert!(matches!(request.await.unwrap(), Err(ControlError::Unreachable { .. })));
}

#[tokio::test]
async fn a_handler_runs_to_its_end_although_its_caller_has_gone() {
    let (begun, may_end, ended) = (Notify::new(), Notify::new(), Notify::new());
    let signals = Arc::new((begun, may_end, ended));
    let in_handler = Arc::clone(&signals);
    let step = async move || {
        in_handler.0.notify_one();
        in_handler.1.notified().await;
        in_handler.2.notify_one();
        StatusCode::NO_CONTENT
    };
    let server = start("127.0.0.1:0", None, Router::new().route("/step", post(step))).await;
    let client = server.client(None);
    let caller = tokio::spawn(async move { client.post::<_, ()>("/step", &()).await });
    signals.0.notified().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    // A handler that is dropped with its connection would never say that it has ended.
    tokio::time::sleep(Duration::from_millis(50)).await;
    signals.1.notify_one();
    let ended = tokio::time::timeout(Duration::from_secs(10), signals.2.notified()).await;
    ended.expect("the handler was cut in half");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_after_the_time_given() {
    let server = start("127.0.0.1:0", None, router()).await;
    let client = server.client(None);
    let error = client.get_within::<u32>("/never", Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(error, ControlError::TimedOut { .. }), "{error}");
    assert!(error.is_transient());
    client.get::<Pair>("/pair?a=1&b=x").await.unwrap();
}
