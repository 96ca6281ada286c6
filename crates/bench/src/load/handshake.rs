//! Joins an export in the oldest way, since that has the cheapest replies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use blockferry_nbd_wire::{
    ClientConfig, ClientHandshake, ClientOutcome, ClientStep, Goal, Manners, Style,
};
use bytes::BytesMut;

/// Connects; gives the export's size in bytes.
pub(super) fn join(server: SocketAddr, export: &str) -> Result<(TcpStream, u64)> {
    let stream =
        TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
    stream.set_nodelay(true)?;
    let goal = Goal::Join { export: export.to_owned(), block_status: false, role: None };
    let mut handshake = ClientHandshake::new(ClientConfig { goal, manners: Manners::Plain });
    let mut input = BytesMut::new();
    loop {
        let step = handshake.step(&mut input);
        (&stream).write_all(&handshake.take_output())?;
        match step.with_context(|| format!("{server} and its export {export:?}"))? {
            ClientStep::Finished(ClientOutcome::Joined(joined)) => {
                ensure!(
                    joined.negotiated.style == Style::Simple,
                    "simple replies were not granted"
                );
                ensure!(input.is_empty(), "the server answers before it is asked");
                return Ok((stream, joined.device.size));
            }
            ClientStep::Finished(other) => bail!("expected to join {export:?}, got {other:?}"),
            ClientStep::ReadMore => {}
        }
        let mut piece = [0; 512];
        let count = (&stream).read(&mut piece)?;
        ensure!(count > 0, "{server} closed the connection: is there an export {export:?}?");
        input.extend_from_slice(&piece[..count]);
    }
}
