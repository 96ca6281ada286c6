//! One of the tasks that put the load on: sends a request, proves the answer, sends the next.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use blockferry_block::Extent;
use blockferry_device::{Device, Reply, Request};
use tokio::time::{Instant, sleep_until, timeout};

use crate::joined::joined;
use crate::load::Shared;
use crate::plan::{Plan, Step};

pub(crate) struct Writer {
    shared: Arc<Shared>,
    device: Arc<dyn Device>,
    connection: usize,
    slot: usize,
    plan: Plan,
}

impl Writer {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        device: &Arc<dyn Device>,
        connection: usize,
        slot: usize,
        span: Extent,
    ) -> Self {
        let plan = Plan::new(&shared.config, device.info(), span, slot as u64);
        Self { shared: Arc::clone(shared), device: Arc::clone(device), connection, slot, plan }
    }

    /// Works until the load is stopped. A request that is under way then is waited for.
    pub(crate) async fn run(mut self) {
        while self.may_send().await {
            let Some(step) = self.next_step() else { break };
            self.take(step).await;
        }
    }

    /// Waits for the next moment at which a request may be sent; `false` when the load has ended.
    async fn may_send(&self) -> bool {
        let stop = &self.shared.stop;
        if let Some(pace) = &self.shared.pace {
            let _ = stop.run_until_cancelled(sleep_until(pace.take())).await;
        }
        !stop.is_cancelled()
    }

    fn next_step(&mut self) -> Option<Step> {
        if let Some(extent) = self.shared.next_fill() {
            return Some(Step::Write { extent, fua: false });
        }
        self.shared.take_step().then(|| self.plan.next())
    }

    async fn take(&self, step: Step) {
        let proof = &self.shared.proof;
        let zeroing = |extent| proof.begin_zeroing(extent);
        match step {
            Step::Flush => {
                self.done(step, Request::Flush).await;
            }
            Step::Read(extent) => self.read(step, extent).await,
            Step::Write { extent, fua } => {
                let writer = u32::try_from(self.connection).unwrap_or(u32::MAX);
                let (write, stamp) = proof.begin_write(extent, writer);
                let data = stamp.fill(extent);
                let request = Request::Write { offset: extent.start(), data, fua };
                proof.end_write(write, self.done(step, request).await);
            }
            Step::WriteZeroes { extent, fua, no_hole } => {
                let write = zeroing(extent);
                let request = Request::WriteZeroes { extent, fua, no_hole, fast_zero: false };
                proof.end_write(write, self.done(step, request).await);
            }
            Step::Trim { extent, fua } => {
                let write = zeroing(extent);
                proof.end_write(write, self.done(step, Request::Trim { extent, fua }).await);
            }
        }
    }

    async fn read(&self, step: Step, extent: Extent) {
        let read = self.shared.proof.begin_read(extent);
        let sent = self.shared.started.elapsed().as_secs_f64();
        let request = Request::Read { extent, dont_fragment: false };
        let Some(reply) = self.send(step, request).await else {
            return self.shared.proof.abandon_read(read);
        };
        let Some(bytes) = joined(reply, extent) else {
            self.failed(step, "the answer is not the content of the extent");
            return self.shared.proof.abandon_read(read);
        };
        self.shared.statistics().count(&step);
        let connection = self.connection;
        let name = || format!("{step} on connection {connection}, sent at {sent:.3} s");
        self.shared.proof.end_read(read, bytes, name);
    }

    /// Sends a request that has nothing to return; `true` when it was acknowledged.
    async fn done(&self, step: Step, request: Request) -> bool {
        let reply = self.send(step, request).await;
        match reply {
            Some(Reply::Done) => self.shared.statistics().count(&step),
            Some(_) => self.failed(step, "the answer is one to another kind of request"),
            None => {}
        }
        reply == Some(Reply::Done)
    }

    /// Sends the request and takes the time; `None` when it failed.
    async fn send(&self, step: Step, request: Request) -> Option<Reply> {
        let shared = &self.shared;
        let begin = Instant::now();
        let sent = begin - shared.started;
        let waiting = &shared.waiting[self.slot];
        let sent_us = u64::try_from(sent.as_micros()).unwrap_or(u64::MAX - 1);
        waiting.store(sent_us + 1, Ordering::Relaxed);
        let answer = timeout(shared.config.request_timeout, self.device.call(request)).await;
        waiting.store(0, Ordering::Relaxed);
        shared.statistics().time(step, self.connection, sent, begin.elapsed());
        match answer {
            Ok(Ok(reply)) => return Some(reply),
            Ok(Err(failure)) => self.failed(step, failure.to_string().trim_start()),
            Err(_) => self.failed(step, &format!("no answer in {:?}", begin.elapsed())),
        }
        None
    }

    fn failed(&self, step: Step, why: &str) {
        let now = self.shared.started.elapsed().as_secs_f64();
        let connection = self.connection;
        self.shared.failed(format!("{step} on connection {connection} at {now:.3} s: {why}"));
    }
}
