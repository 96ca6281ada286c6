//! Sessions that reset each other.

mod support;

use std::sync::Arc;
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_device::{Answer, Device, DeviceInfo, Failure, Request};
use blockferry_iscsi::pdu::{Attribute, Function, LoginRequest, ManagementRequest, ScsiCommand};
use blockferry_iscsi::{Header, Isid, Itt, Lun, Outbox, Serial};
use blockferry_iscsi_session::{Change, Changed, Medium};
use blockferry_store::MemoryStore;
use blockferry_store::wrap::Gate;
use futures_util::future::BoxFuture;
use support::{Server, TARGET, serve_on};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SIZE: u64 = 1 << 20;
const BLOCK: usize = 512;

/// Sessions that have ended end within this time.
const END_MAX: Duration = Duration::from_secs(20);

/// A disk whose writes stand still until the gate is opened.
struct Held(Gate<MemoryStore, fn(&Request) -> bool>);

impl Device for Held {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }

    fn call(&self, request: Request) -> Answer {
        self.0.call(request)
    }
}

impl Medium for Held {
    fn change(&self, _: Extent, _: Change) -> BoxFuture<'static, Result<Changed, Failure>> {
        Box::pin(std::future::ready(Ok(Changed::Unknown)))
    }
}

/// An initiator that says what it has to say and looks at no answer.
struct Initiator {
    stream: TcpStream,
    cmd_sn: u32,
}

impl Initiator {
    async fn log_in(server: &Server, name: &str) -> Self {
        let stream = TcpStream::connect(server.address).await.expect("connected");
        let mut initiator = Self { stream, cmd_sn: 0 };
        let request = LoginRequest::straight(Isid([0x80, 0, 0, 0, 0, 1]), Itt(0), Serial(0));
        let text = format!("InitiatorName=iqn.2026-01.test:{name}\0TargetName={TARGET}\0");
        initiator.send(request.encode(), text.as_bytes()).await;
        let mut answer = [0; Header::BYTES];
        initiator.stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer[36..38], [0, 0], "the login has succeeded");
        initiator
    }

    async fn send(&mut self, header: Header, data: &[u8]) {
        let mut outbox = Outbox::new();
        outbox.put_pdu(header, &[], data);
        self.stream.write_all_buf(&mut outbox).await.expect("sent");
    }

    async fn command(&mut self, cdb: [u8; 16], data: &[u8]) {
        let number = self.cmd_sn;
        self.cmd_sn += 1;
        let command = ScsiCommand {
            immediate: false,
            last: true,
            read: false,
            write: !data.is_empty(),
            attribute: Attribute::Simple,
            lun: Lun(0),
            itt: Itt(number),
            expected_length: data.len() as u32,
            cmd_sn: Serial(number),
            expected_stat_sn: Serial(0),
            cdb,
        };
        self.send(command.encode(), data).await;
    }

    /// TEST UNIT READY, which hears that the session is new, and WRITE(10) of the first block.
    async fn write(&mut self) {
        self.command([0; 16], &[]).await;
        let mut write = [0; 16];
        (write[0], write[8]) = (0x2a, 1);
        self.command(write, &[1; BLOCK]).await;
    }

    async fn reset_unit(&mut self) {
        let request = ManagementRequest {
            immediate: true,
            function: Function::LOGICAL_UNIT_RESET,
            lun: Lun(0),
            itt: Itt(1000),
            referenced: Itt::NONE,
            cmd_sn: Serial(self.cmd_sn),
            expected_stat_sn: Serial(0),
            referenced_cmd_sn: Serial(0),
        };
        self.send(request.encode(), &[]).await;
    }

    /// Says that nothing more will come, and waits until the session has seen that.
    async fn leave(mut self) {
        self.stream.shutdown().await.expect("half closed");
        let mut answers = Vec::new();
        self.stream.read_to_end(&mut answers).await.expect("the end of the session");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_reset_each_other_and_lose_their_connections_do_not_wait_for_each_other() {
    let held = Arc::new(Held(Gate::new(MemoryStore::new(SIZE), Request::is_write)));
    let server = serve_on(SIZE, Arc::<Held>::clone(&held)).await;
    let mut one = Initiator::log_in(&server, "one").await;
    let mut other = Initiator::log_in(&server, "other").await;
    for initiator in [&mut one, &mut other] {
        initiator.write().await;
    }
    held.0.holds(2).await;
    for initiator in [&mut one, &mut other] {
        initiator.reset_unit().await;
    }
    let left = async { tokio::join!(one.leave(), other.leave()) };
    tokio::time::timeout(END_MAX, left).await.expect("both sessions see their ends");
    held.0.open();
    tokio::time::timeout(END_MAX, server.end()).await.expect("both sessions end");
}
