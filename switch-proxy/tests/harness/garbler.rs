//! A relay before a server that, when told to, answers with garbage instead of the server's bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Garbler {
    garbling: Arc<AtomicBool>,
    connections: Arc<AtomicU64>,
}

impl Garbler {
    /// Relays from any free port, which it tells.
    pub(crate) async fn start(upstream: String) -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let garbler = Self::default();
        let relay = garbler.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                relay.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(relay.clone().relay(client, upstream.clone()));
            }
        });
        (garbler, port)
    }

    pub(crate) fn garble(&self, garbling: bool) {
        self.garbling.store(garbling, Ordering::Relaxed);
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    async fn relay(self, client: TcpStream, upstream: String) {
        let Ok(server) = TcpStream::connect(upstream).await else { return };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if self.garbling.load(Ordering::Relaxed) {
                buffer[..length].fill(0x5a);
            }
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }
}
