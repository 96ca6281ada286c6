use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn since(socket: &TcpStream, begin: Progress) -> (u64, u64) {
    let moved = progress(socket.as_fd()).unwrap().since(begin).unwrap();
    (moved.taken, moved.given)
}

/// Waits until so much lies there unread.
fn arrived(socket: &TcpStream, count: usize) {
    let mut buffer = vec![0; count];
    while socket.peek(&mut buffer).unwrap() < count {
        std::thread::yield_now();
    }
}

#[test]
fn what_lies_unread_is_not_taken_and_what_was_read_is() {
    let (mut client, mut server) = connection();
    let begin = progress(server.as_fd()).unwrap();
    client.write_all(&[1; 100]).unwrap();
    arrived(&server, 100);
    assert_eq!(since(&server, begin), (0, 0));
    server.read_exact(&mut [0; 30]).unwrap();
    assert_eq!(since(&server, begin), (30, 0));
    server.read_exact(&mut [0; 70]).unwrap();
    assert_eq!(since(&server, begin), (100, 0));
}

#[test]
fn the_end_of_the_peers_stream_is_no_byte_that_was_taken() {
    let (mut client, mut server) = connection();
    let begin = progress(server.as_fd()).unwrap();
    client.write_all(&[1; 10]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    arrived(&server, 10);
    while sys::tcp_info(server.as_fd()).unwrap().state != 8 {
        std::thread::yield_now();
    }
    assert_eq!(since(&server, begin), (0, 0));
    server.read_exact(&mut [0; 10]).unwrap();
    assert_eq!(since(&server, begin), (10, 0));
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    assert_eq!(since(&server, begin), (10, 0));
}

#[test]
fn what_the_socket_was_given_counts_whether_the_peer_has_it_or_not() {
    let (mut client, mut server) = connection();
    let begin = progress(server.as_fd()).unwrap();
    server.set_nonblocking(true).unwrap();
    let mut given = 0;
    while let Ok(count) = server.write(&[7; 100_000]) {
        given += count as u64;
    }
    assert_eq!(since(&server, begin), (0, given), "though most of it waits here");
    let mut left = vec![0; usize::try_from(given).unwrap()];
    client.read_exact(&mut left).unwrap();
    assert_eq!(since(&server, begin), (0, given));
}

#[test]
fn what_is_discarded_unseen_was_taken_and_what_was_only_looked_at_was_not() {
    let (mut client, server) = connection();
    let begin = progress(server.as_fd()).unwrap();
    client.write_all(b"look and leave").unwrap();
    arrived(&server, 14);
    assert_eq!(since(&server, begin), (0, 0), "it was only looked at");
    let mut untouched = *b"looked";
    let flags = rustix::net::RecvFlags::TRUNC;
    assert_eq!(rustix::net::recv(&server, &mut untouched[..5], flags).unwrap().1, 5);
    assert_eq!((&untouched, since(&server, begin)), (b"looked", (5, 0)));
}

#[test]
fn counts_stand_still_for_a_look_while_the_peer_sends() {
    let (mut client, mut server) = connection();
    let begin = progress(server.as_fd()).unwrap();
    let sender = std::thread::spawn(move || {
        for _ in 0..2000 {
            client.write_all(&[3; 1000]).unwrap();
        }
        client
    });
    let mut taken = 0;
    while taken < 2_000_000 {
        taken += server.read(&mut [0; 5000]).unwrap() as u64;
        assert_eq!(since(&server, begin), (taken, 0));
    }
    sender.join().unwrap();
}

#[test]
fn what_is_no_tcp_connection_has_no_progress() {
    let (one, _other) = UnixStream::pair().unwrap();
    progress(one.as_fd()).unwrap_err();
    let (client, server) = connection();
    socket_reset(client);
    while progress(server.as_fd()).is_ok() {
        std::thread::yield_now();
    }
}

/// Closes so that the peer sees a reset.
fn socket_reset(client: TcpStream) {
    let linger = Some(std::time::Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(client, linger).unwrap();
}
