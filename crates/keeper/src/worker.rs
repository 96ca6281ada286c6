//! One worker process: started, talked to, waited for.

use std::convert::Infallible;
use std::future::pending;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc};

use crate::channel::Channel;
use crate::message::{ToKeeper, ToWorker};
use crate::supervision::Run;

/// Messages that wait for a worker; one that lets more gather hangs. Two for each of more clients
/// than any keeper has.
const SAID_MAX: usize = 1 << 14;

/// What a worker does.
#[derive(Debug)]
pub(crate) enum News {
    /// It says something.
    Said(Run, ToKeeper),
    /// It has ended; it had said nothing else before.
    Exited(Run, ExitStatus),
}

type Said = (ToWorker, Vec<OwnedFd>);

/// A running worker.
pub(crate) struct Worker {
    /// Its process id.
    pub(crate) pid: u32,
    said: mpsc::Sender<Said>,
    kill: Arc<Notify>,
}

impl Worker {
    /// Starts it; its standard input is the keeper's channel.
    pub(crate) fn start(
        run: Run,
        mut command: Command,
        news: mpsc::Sender<News>,
    ) -> std::io::Result<Self> {
        let (channel, end) = Channel::pair()?;
        // A signal from a terminal is the keeper's to pass on.
        let child = command.stdin(end).process_group(0).kill_on_drop(true).spawn()?;
        // The command still holds the worker's end.
        drop(command);
        let pid = child.id().unwrap_or_default();
        tracing::debug!(pid, run, "a worker was started");
        let (said, hear) = mpsc::channel(SAID_MAX);
        let kill = Arc::new(Notify::new());
        tokio::spawn(attend(run, child, channel, hear, Arc::clone(&kill), news));
        Ok(Self { pid, said, kill })
    }

    pub(crate) fn say(&self, message: ToWorker, sockets: Vec<OwnedFd>) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.said.try_send((message, sockets)) {
            tracing::error!("a worker does not listen and is killed");
            self.kill();
        }
    }

    pub(crate) fn kill(&self) {
        self.kill.notify_one();
    }
}

async fn attend(
    run: Run,
    mut child: Child,
    channel: Channel,
    hear: mpsc::Receiver<Said>,
    kill: Arc<Notify>,
    news: mpsc::Sender<News>,
) {
    let status = {
        let listen = listen(run, &channel, &news);
        let talk = talk(&channel, hear);
        let ended = async {
            tokio::select! {
                status = child.wait() => return status,
                () = kill.notified() => {}
            }
            // It may have ended by itself meanwhile.
            let _ = child.start_kill();
            child.wait().await
        };
        tokio::pin!(listen);
        tokio::select! {
            // What it said before its end comes first.
            (status, ()) = async { tokio::join!(ended, &mut listen) } => status,
            never = talk => match never {},
        }
    };
    match status {
        // Nobody to tell is an end, too.
        Ok(status) => _ = news.send(News::Exited(run, status)).await,
        Err(error) => tracing::error!(%error, run, "a worker cannot be waited for"),
    }
}

/// Hears the worker until it is gone.
async fn listen(run: Run, channel: &Channel, news: &mpsc::Sender<News>) {
    loop {
        let said = match channel.receive().await {
            Ok(Some(packet)) => ToKeeper::decode(packet.bytes),
            Ok(None) | Err(_) => return,
        };
        match said {
            Ok(said) => {
                if news.send(News::Said(run, said)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, run, "a worker says something strange"),
        }
    }
}

async fn talk(channel: &Channel, mut hear: mpsc::Receiver<Said>) -> Infallible {
    while let Some((message, sockets)) = hear.recv().await {
        let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        if let Err(error) = channel.send(&message.encode(), &sockets).await {
            tracing::debug!(%error, "a worker cannot be told");
        }
    }
    pending().await
}
