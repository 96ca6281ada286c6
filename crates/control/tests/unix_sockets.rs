//! What becomes of the file of a unix socket.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use blockferry_control::{ListenAddress, ListenError, Listener};

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_goes_away_with_its_listener() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let listener = Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(listener.is_local());
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_nobody_serves_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a plain listener leaves its file behind");
    let listener = Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap();
    let (accepted, connected) =
        tokio::join!(listener.accept(), tokio::net::UnixStream::connect(&path));
    accepted.unwrap();
    connected.unwrap();
}

#[tokio::test]
async fn a_socket_that_somebody_serves_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let first = Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap();
    let error = Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    drop(first);
}

#[tokio::test]
async fn a_file_in_the_way_is_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    fs::write(&path, "precious").unwrap();
    let error = Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn a_listener_does_not_remove_the_socket_that_took_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let first = Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap();
    fs::remove_file(&path).unwrap();
    let _second = Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap();
    drop(first);
    assert!(path.exists());
}
