//! An initiator, and owners that say what a test has them say, PDU by PDU.

use blockferry_iscsi::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage};
use blockferry_iscsi::{Cid, Decoder, Isid, Itt, Opcode, Outbox, Pdu, Sequence, Serial, Tsih};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::soon;

/// What an initiator says first.
pub(crate) const HELLO: &str = "InitiatorName=iqn.2026-01.test:a\0SessionType=Normal\0TargetName=iqn.2026-01.io.blockferry:vol\0";

/// One end of a connection.
pub(crate) struct End {
    stream: TcpStream,
    decoder: Decoder,
    unread: BytesMut,
}

impl End {
    fn new(stream: TcpStream) -> Self {
        Self { stream, decoder: Decoder::new(), unread: BytesMut::new() }
    }

    /// An initiator at a portal.
    pub(crate) async fn connect(portal: &str) -> Self {
        Self::new(soon(TcpStream::connect(portal)).await.unwrap())
    }

    /// Sends a request of a login that goes from `current` to full feature; `continued` when its text
    /// is not whole.
    pub(crate) async fn request(&mut self, current: Stage, text: &str, continued: bool) {
        let request = LoginRequest {
            transit: !continued,
            continued,
            current,
            ..LoginRequest::straight(Isid([0x80, 0, 0, 0, 0, 1]), Itt(7), Serial(1))
        };
        self.send(request.encode(), text).await;
    }

    /// Answers a login request: with `transit` there is a session.
    pub(crate) async fn answer(&mut self, transit: bool, status: LoginStatus, text: &str) {
        let response = LoginResponse {
            transit,
            continued: false,
            current: Stage::Operational,
            next: if transit { Stage::FullFeature } else { Stage::Security },
            version_max: 0,
            version_active: 0,
            isid: Isid([0x80, 0, 0, 0, 0, 1]),
            tsih: Tsih(u16::from(transit)),
            itt: Itt(7),
            sequence: Sequence {
                stat_sn: Serial(0),
                expected_cmd_sn: Serial(1),
                max_cmd_sn: Serial(32),
            },
            status,
        };
        self.send(response.encode(), text).await;
    }

    async fn send(&mut self, header: blockferry_iscsi::Header, text: &str) {
        let mut out = Outbox::new();
        out.put_pdu(header, &[], text.as_bytes());
        self.stream.write_all_buf(&mut out).await.unwrap();
    }

    /// The next PDU.
    pub(crate) async fn hear(&mut self) -> Pdu {
        soon(async {
            loop {
                if let Some(pdu) = self.decoder.decode(&mut self.unread).unwrap() {
                    return pdu;
                }
                assert_ne!(self.stream.read_buf(&mut self.unread).await.unwrap(), 0, "the end");
            }
        })
        .await
    }

    /// The login status of the next PDU.
    pub(crate) async fn told(&mut self) -> LoginStatus {
        let pdu = self.hear().await;
        assert_eq!(pdu.header.opcode(), Opcode::LOGIN_RESPONSE);
        LoginResponse::decode(&pdu.header).status
    }

    /// Sends bytes that are no PDU.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next bytes, as many as are expected.
    pub(crate) async fn expect(&mut self, bytes: &[u8]) {
        let mut heard = vec![0; bytes.len()];
        soon(self.stream.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard, bytes);
    }

    /// Waits for the end of the connection, before which nothing comes.
    pub(crate) async fn ends(&mut self) {
        let read = soon(self.stream.read_u8()).await;
        assert!(read.is_err(), "{read:?}");
    }
}

/// A server for initiators.
pub(crate) struct Owner {
    listener: TcpListener,
}

impl Owner {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// Where it is.
    pub(crate) fn portal(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> End {
        End::new(soon(self.listener.accept()).await.unwrap().0)
    }

    /// A connection whose login succeeds at once.
    pub(crate) async fn log_in(&self) -> End {
        let mut end = self.accept().await;
        end.hear().await;
        end.answer(true, LoginStatus::SUCCESS, "").await;
        end
    }
}
