use std::sync::Mutex;
use std::task::{Context, Poll};

use blockferry_device::{Answer, Errno, Failure, Features, PieceSink};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::*;

/// Takes writes in pieces, each of which has to be the next; answers when the last has come.
struct Pieces {
    info: DeviceInfo,
    taken: Arc<Mutex<Vec<u8>>>,
}

struct Sink {
    taken: Arc<Mutex<Vec<u8>>>,
    ended: Option<oneshot::Sender<usize>>,
}

impl PieceSink for Sink {
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn push(&mut self, piece: Bytes) {
        self.taken.lock().unwrap().extend_from_slice(&piece);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let taken = self.taken.lock().unwrap().len();
        let _ = self.ended.take().unwrap().send(taken);
    }
}

impl Device for Pieces {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn call(&self, _request: Request) -> Answer {
        Answer::ready(Err(Failure::new(Errno::Inval, "in pieces only")))
    }

    fn begin_write(&self, extent: Extent) -> Option<Inflow> {
        let (ended, end) = oneshot::channel();
        let sink = Sink { taken: Arc::clone(&self.taken), ended: Some(ended) };
        let answer = Answer::later(async move {
            match end.await.unwrap() as u64 == extent.len() {
                true => Ok(Reply::Done),
                false => Err(Failure::new(Errno::Io, "it has come in part only")),
            }
        });
        Some(Inflow { sink: Box::new(sink), answer })
    }
}

fn end() -> (LocalEnd, Arc<Mutex<Vec<u8>>>, CancellationToken) {
    let info = DeviceInfo::new(100, Features::default());
    let device = Pieces { info, taken: Arc::default() };
    let (taken, cut) = (Arc::clone(&device.taken), CancellationToken::new());
    (LocalEnd::new(Arc::new(device), cut.clone()), taken, cut)
}

#[tokio::test]
async fn what_flows_is_taken_piece_by_piece() {
    let (end, taken, _cut) = end();
    let (mut sender, flow) = Flow::channel(10);
    let (written, ()) = tokio::join!(end.write_flowing(Extent::between(0, 10), flow), async {
        sender.send(Bytes::from_static(b"01234"));
        tokio::task::yield_now().await;
        sender.send(Bytes::from_static(b"56789"));
    });
    assert_eq!(written, Ok(Reply::Done));
    assert_eq!(&taken.lock().unwrap()[..], b"0123456789");
}

#[tokio::test]
async fn what_breaks_off_was_not_written() {
    let (end, _taken, _cut) = end();
    let (mut sender, flow) = Flow::channel(10);
    sender.send(Bytes::from_static(b"01234"));
    drop(sender);
    let written = end.write_flowing(Extent::between(0, 10), flow).await;
    assert!(matches!(written, Err(EndError::Lost(_))), "{written:?}");
}

#[tokio::test]
async fn an_end_that_was_cut_is_lost_in_the_middle_of_a_write() {
    let (end, _taken, cut) = end();
    let (_sender, flow) = Flow::channel(10);
    let (written, ()) = tokio::join!(end.write_flowing(Extent::between(0, 10), flow), async {
        tokio::task::yield_now().await;
        cut.cancel();
    });
    assert!(matches!(written, Err(EndError::Lost(_))), "{written:?}");
}
