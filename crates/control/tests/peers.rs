//! The client against servers that misbehave, each named by its sin, and the server against a
//! browser.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use blockferry_control::{ControlAddress, ControlClient, ControlError, ControlServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Serves every connection with `answers` in turn, then closes it; counts connections and requests.
async fn fake(
    answers: &'static [&'static str],
) -> (ControlClient, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: ControlAddress =
        format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counted = (Arc::clone(&connections), Arc::clone(&requests));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.fetch_add(1, Ordering::SeqCst);
            for answer in answers {
                if read_head(&mut stream).await.is_none() {
                    break;
                }
                requests.fetch_add(1, Ordering::SeqCst);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (ControlClient::new(address, None), counted.0, counted.1)
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    // The body of the posts here is `null` or nothing.
    if head.starts_with(b"POST") {
        stream.read_exact(&mut [0; 4]).await.ok()?;
    }
    Some(String::from_utf8(head).unwrap())
}

const SEVEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7";

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let (client, connections, requests) = fake(&[SEVEN, SEVEN, SEVEN]).await;
    for _ in 0..3 {
        assert_eq!(client.get::<u32>("/x").await.unwrap(), 7);
    }
    assert_eq!((connections.load(Ordering::SeqCst), requests.load(Ordering::SeqCst)), (1, 3));
}

#[tokio::test]
async fn closes_after_each_answer() {
    let (client, _, requests) = fake(&[SEVEN]).await;
    for _ in 0..20 {
        assert_eq!(client.get::<u32>("/x").await.unwrap(), 7);
    }
    assert_eq!(requests.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn closes_instead_of_answering() {
    let (client, _, requests) = fake(&[""]).await;
    let error = client.post::<_, u32>("/x", &()).await.unwrap_err();
    assert!(matches!(error, ControlError::Unreachable { .. }), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 1, "a post whose fate is unknown is not repeated");
}

#[tokio::test]
async fn answers_without_end() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n";
    let answer: &'static str = format!("{HEAD}{}", " ".repeat(9_000_000)).leak();
    let answers: &'static [&'static str] = Box::leak(Box::new([answer]));
    let (client, ..) = fake(answers).await;
    let error = client.get::<u32>("/x").await.unwrap_err().to_string();
    assert!(error.contains("more than 8388608 bytes"), "{error}");
}

#[tokio::test]
async fn answers_something_else() {
    let (client, ..) = fake(&["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"]).await;
    let error = client.get::<u32>("/x").await.unwrap_err();
    assert!(matches!(error, ControlError::Protocol { .. }), "{error}");
    let (client, ..) = fake(&["SSH-2.0-OpenSSH\r\n"]).await;
    let error = client.get::<u32>("/x").await.unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1);
}

#[tokio::test]
async fn refuses_with_an_ugly_page() {
    let (client, ..) =
        fake(&["HTTP/1.1 502 Bad Gateway\r\ncontent-length: 13\r\n\r\n<html>\n\x1b[31m!"]).await;
    let error = client.get::<u32>("/x").await.unwrap_err();
    assert!(error.is_transient());
    let text = error.to_string();
    assert!(text.contains("502") && !text.contains(char::is_control), "{text:?}");
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for address in [format!("http://{address}"), "unix:/nonexistent/control".to_owned()] {
        let client = ControlClient::new(address.parse().unwrap(), None);
        let error = client.get::<u32>("/x").await.unwrap_err();
        assert!(matches!(error, ControlError::Unreachable { .. }));
        assert!(error.to_string().contains(&address), "{error}");
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_asked_for_is_refused_before_anything_is_sent() {
    let (client, connections, _) = fake(&[SEVEN]).await;
    for path in ["x", "", "/a b", "/a\r\nhost: b"] {
        let error = client.get::<u32>(path).await.unwrap_err();
        assert!(matches!(error, ControlError::Protocol { .. }), "{path:?}: {error}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_request_from_a_web_page_is_refused() {
    let server = ControlServer::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let address = server.address().to_string();
    tokio::spawn(server.serve(axum::Router::new().into(), CancellationToken::new()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\norigin: http://evil.example\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}
