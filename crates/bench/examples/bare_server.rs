//! An NBD server of blockferry's own sessions and stores without anything of migrations between
//! them: what `blockferry-bench` holds the storage programs against.
//!
//! Usage: `bare_server ADDRESS EXPORT FILE`; SIGTERM ends it.

use std::path::Path;
use std::sync::Arc;

use blockferry_device::Device;
use blockferry_nbd_session::{
    ExportEntry, Exports, FenceRequest, Hello, OpenError, Opened, serve_all,
};
use blockferry_net::{Limits, Listener, Threads};
use blockferry_store::FileStore;
use futures_util::future::BoxFuture;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// One export for everybody.
struct OneExport {
    name: String,
    device: Arc<dyn Device>,
}

impl Exports for OneExport {
    fn list(&self) -> Vec<ExportEntry> {
        vec![ExportEntry { name: self.name.clone(), description: String::new() }]
    }

    fn open<'a>(&'a self, name: &'a str, _: &'a Hello) -> BoxFuture<'a, Result<Opened, OpenError>> {
        let opened = if name == self.name {
            Ok(Opened {
                name: self.name.clone(),
                description: String::new(),
                device: Arc::clone(&self.device),
                cut: CancellationToken::new(),
                kept: None,
            })
        } else {
            Err(OpenError::Unknown(format!("there is no export {name:?}")))
        };
        Box::pin(std::future::ready(opened))
    }

    fn fence<'a>(&'a self, _: FenceRequest) -> BoxFuture<'a, Result<(), OpenError>> {
        let refused = OpenError::Policy("this server has no sessions to fence".to_owned());
        Box::pin(std::future::ready(Err(refused)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, name, file] = arguments.as_slice() else {
        return Err("usage: bare_server ADDRESS EXPORT FILE".into());
    };
    let device = Arc::new(FileStore::open(Path::new(file), false)?);
    let exports = Arc::new(OneExport { name: name.clone(), device });
    let listener = Listener::bind(&address.parse()?).await?;
    let shutdown = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let ending = shutdown.clone();
    tokio::spawn(async move {
        terminated.recv().await;
        ending.cancel();
    });
    serve_all(
        listener,
        Arc::new(Threads::start()?),
        exports,
        Arc::new(Limits::default()),
        shutdown,
    )
    .await;
    Ok(())
}
