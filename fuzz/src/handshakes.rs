//! The handshakes of both sides.

use blockferry_block::{BootId, ClaimEpoch, Generation, MigrationId, SessionId, Token};
use blockferry_nbd_wire::{
    ClientConfig, ClientError, ClientHandshake, ClientOutcome, ClientStep, ExportEntry, ExportInfo,
    FenceRequest, Goal, Manners, Negotiated, Refusal, Role, RoleClaim, ServerError,
    ServerHandshake, ServerStep,
};

use crate::pieces::feed;
use crate::requests::device;

/// How a server's handshake ended.
#[derive(Debug, PartialEq)]
enum ServerEnd {
    Transmit(Negotiated),
    Ended,
    Error(ServerError),
}

/// A client's bytes against our server, which has one export.
pub fn server_handshake(data: &[u8]) {
    let whole = serve(data, None);
    let cut = serve(data, Some(1 + data.len() % 7));
    assert_eq!(whole, cut);
}

fn serve(data: &[u8], length: Option<usize>) -> (Vec<u8>, Option<ServerEnd>) {
    let mut server = ServerHandshake::new();
    let end = feed(data, length, |input| {
        loop {
            match server.step(input) {
                Ok(ServerStep::ReadMore) => return None,
                Ok(ServerStep::List) => server.answer_list(&[entry()]),
                Ok(ServerStep::Open { name, .. }) => answer_open(&mut server, &name),
                Ok(ServerStep::Fence(fence)) => {
                    let known = fence.export == "vol";
                    let outcome = if known { Ok(()) } else { Err(Refusal::unknown("unknown")) };
                    server.answer_fence(outcome);
                }
                Ok(ServerStep::Transmit(negotiated)) => {
                    return Some(ServerEnd::Transmit(negotiated));
                }
                Ok(ServerStep::Ended) => return Some(ServerEnd::Ended),
                Err(error) => return Some(ServerEnd::Error(error)),
            }
        }
    });
    (server.take_output().to_vec(), end)
}

fn answer_open(server: &mut ServerHandshake, name: &str) {
    let export =
        ExportInfo { name: "vol".to_owned(), description: "a volume".to_owned(), device: device() };
    match name {
        "" | "vol" => server.answer_open(Ok(&export)),
        other => server.answer_open(Err(Refusal::unknown(format!("there is no {other}")))),
    }
}

fn entry() -> ExportEntry {
    ExportEntry { name: "vol".to_owned(), description: "a volume".to_owned() }
}

/// A server's bytes against our client; the first byte picks what the client wants.
pub fn client_handshake(data: &[u8]) {
    let Some((variant, data)) = data.split_first() else { return };
    let whole = connect(*variant, data, None);
    let cut = connect(*variant, data, Some(1 + data.len() % 7));
    assert_eq!(whole, cut);
    if let Some(Ok(ClientOutcome::Joined(joined))) = &whole.1 {
        let device = &joined.device;
        assert!(i64::try_from(device.size).is_ok());
        assert!(device.block_size_min.is_power_of_two());
        assert!(device.block_size_preferred.is_power_of_two());
        assert!(device.payload_max >= device.block_size_min);
    }
}

type ClientEnd = Result<ClientOutcome, ClientError>;

fn connect(variant: u8, data: &[u8], length: Option<usize>) -> (Vec<u8>, Option<ClientEnd>) {
    let mut client = ClientHandshake::new(config(variant));
    let end = feed(data, length, |input| match client.step(input) {
        Ok(ClientStep::ReadMore) => None,
        Ok(ClientStep::Finished(outcome)) => Some(Ok(outcome)),
        Err(error) => Some(Err(error)),
    });
    (client.take_output().to_vec(), end)
}

fn config(variant: u8) -> ClientConfig {
    let manners = if variant & 4 == 0 { Manners::Full } else { Manners::Plain };
    let goal = match variant & 3 {
        0 => Goal::Join { export: "vol".to_owned(), block_status: true, role: None },
        1 => Goal::Join { export: "vol".to_owned(), block_status: true, role: Some(claim()) },
        2 => Goal::List,
        _ => Goal::Fence(FenceRequest {
            export: "vol".to_owned(),
            session: SessionId::from_bytes([1; 16]),
            generation: Generation(2),
        }),
    };
    ClientConfig { goal, manners }
}

/// A claim to the mirror's role.
fn claim() -> RoleClaim {
    RoleClaim {
        role: Role::Mirror,
        standby: false,
        migration: MigrationId::from_bytes([1; 16]),
        token: Token::from_bytes([2; 32]),
        session: SessionId::from_bytes([3; 16]),
        generation: Generation(4),
        source_boot: BootId(5),
        destination_boot: BootId(6),
        claim_epoch: ClaimEpoch(7),
        arrangement: "unix:/run/switch".to_owned(),
    }
}
