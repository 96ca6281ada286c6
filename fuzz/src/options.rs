//! The data of the two private options.

use blockferry_nbd_wire::constants::{OPT_BLOCKFERRY_FENCE, OPT_BLOCKFERRY_ROLE, OPTION_MAGIC};
use blockferry_nbd_wire::{ServerHandshake, ServerStep};
use bytes::{BufMut, BytesMut};

/// An option's data. What is understood must be written again as it came.
pub fn private_options(data: &[u8]) {
    role(data);
    fence(data);
}

fn after(option: u32, data: &[u8]) -> Option<(ServerHandshake, ServerStep)> {
    let mut input = BytesMut::new();
    input.put_u32(3);
    input.put_u64(OPTION_MAGIC);
    input.put_u32(option);
    input.put_u32(u32::try_from(data.len()).ok()?);
    input.put_slice(data);
    let mut server = ServerHandshake::new();
    let step = server.step(&mut input).ok()?;
    Some((server, step))
}

fn role(data: &[u8]) {
    let Some((server, _)) = after(OPT_BLOCKFERRY_ROLE, data) else { return };
    let Some(claim) = server.role() else { return };
    let mut again = Vec::new();
    claim.encode(&mut again);
    assert_eq!(again, data);
}

fn fence(data: &[u8]) {
    let Some((_, ServerStep::Fence(fence))) = after(OPT_BLOCKFERRY_FENCE, data) else { return };
    let mut again = Vec::new();
    fence.encode(&mut again);
    assert_eq!(again, data);
}
