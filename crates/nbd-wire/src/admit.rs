//! Decides what becomes of a request that a client sent: a call to the device, an answer at once,
//! or the end of the session. Every answer is the same whoever serves the export.

use blockferry_block::Extent;
use blockferry_device::{DeviceInfo, Errno, Failure, PAYLOAD_MAX, Request};
use bytes::Bytes;

use crate::constants as c;
use crate::request::{CommandFlags, Negotiated, RequestFrame, RequestHeader, Style};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Call the device.
    Call(Request),
    /// The request touches nothing: answer with success.
    Nothing,
    /// Answer what is outstanding, then close.
    Disconnect,
}

/// Checks the request against the protocol and the device.
///
/// # Errors
/// The failure to answer with; the stream stays in step and the session goes on.
pub fn admit(
    frame: RequestFrame,
    device: &DeviceInfo,
    negotiated: &Negotiated,
) -> Result<Admitted, Failure> {
    let header = frame.header;
    if header.command == c::CMD_DISC {
        return Ok(Admitted::Disconnect);
    }
    check_flags(&header, device, negotiated)?;
    let request = request(frame, negotiated)?;
    device.check(&request)?;
    check_alignment(&request, device)?;
    let empty = request.extent().is_some_and(Extent::is_empty);
    Ok(if empty { Admitted::Nothing } else { Admitted::Call(request) })
}

/// The extent of a write that [`admit`] would let through to the device, whatever its payload is; `None`
/// for every other request, and for a write that has to be durable.
pub fn admit_ahead(
    header: &RequestHeader,
    device: &DeviceInfo,
    negotiated: &Negotiated,
) -> Option<Extent> {
    let is_plain = header.command == c::CMD_WRITE && !header.flags.has(CommandFlags::FUA);
    let extent = Extent::new(header.offset, header.length).ok().filter(|_| is_plain)?;
    check_flags(header, device, negotiated).ok()?;
    let nothing = Request::Write { offset: header.offset, data: Bytes::new(), fua: false };
    device.check(&nothing).ok()?;
    let block = u64::from(device.block_size_min.max(1));
    let is_aligned = extent.start() % block == 0 && extent.len() % block == 0;
    (is_aligned && extent.end() <= device.size).then_some(extent)
}

/// A flag may be set only on the commands it is documented for; FUA on every command where it was
/// negotiated ("Command flags").
fn check_flags(
    header: &RequestHeader,
    device: &DeviceInfo,
    negotiated: &Negotiated,
) -> Result<(), Failure> {
    let structured = negotiated.style != Style::Simple;
    let own = match header.command {
        c::CMD_READ if structured => CommandFlags::DF,
        c::CMD_WRITE if negotiated.style == Style::Extended => CommandFlags::PAYLOAD_LEN,
        c::CMD_WRITE_ZEROES if device.features.fast_zero => {
            CommandFlags::NO_HOLE.and(CommandFlags::FAST_ZERO)
        }
        c::CMD_WRITE_ZEROES => CommandFlags::NO_HOLE,
        c::CMD_BLOCK_STATUS => CommandFlags::REQ_ONE,
        _ => CommandFlags::default(),
    };
    let fua = if device.features.fua { CommandFlags::FUA } else { CommandFlags::default() };
    let wrong = header.flags.without(own).without(fua);
    if wrong == CommandFlags::default() {
        Ok(())
    } else {
        Err(invalid(format!("command flags {:#x} are not valid here", wrong.0)))
    }
}

fn request(frame: RequestFrame, negotiated: &Negotiated) -> Result<Request, Failure> {
    let RequestFrame { header, payload } = frame;
    let flags = header.flags;
    let fua = flags.has(CommandFlags::FUA);
    let extent = Extent::new(header.offset, header.length)
        .map_err(|overflow| invalid(overflow.to_string()))?;
    Ok(match header.command {
        c::CMD_READ => read(extent, flags.has(CommandFlags::DF))?,
        c::CMD_WRITE => Request::Write { offset: header.offset, data: payload, fua },
        c::CMD_WRITE_ZEROES => Request::WriteZeroes {
            extent,
            fua,
            no_hole: flags.has(CommandFlags::NO_HOLE),
            fast_zero: flags.has(CommandFlags::FAST_ZERO),
        },
        c::CMD_TRIM => Request::Trim { extent, fua },
        c::CMD_CACHE => Request::Cache { extent },
        c::CMD_FLUSH => flush(&header)?,
        c::CMD_BLOCK_STATUS => block_status(extent, flags.has(CommandFlags::REQ_ONE), negotiated)?,
        unknown => return Err(invalid(format!("command {unknown} is not known"))),
    })
}

fn read(extent: Extent, dont_fragment: bool) -> Result<Request, Failure> {
    if extent.len() <= u64::from(PAYLOAD_MAX) {
        return Ok(Request::Read { extent, dont_fragment });
    }
    let errno = if dont_fragment { Errno::Overflow } else { Errno::Inval };
    let length = extent.len();
    Err(Failure::new(errno, format!("a read of {length} bytes is longer than {PAYLOAD_MAX}")))
}

fn flush(header: &RequestHeader) -> Result<Request, Failure> {
    if header.offset == 0 && header.length == 0 {
        Ok(Request::Flush)
    } else {
        Err(invalid("a flush has neither offset nor length"))
    }
}

fn block_status(extent: Extent, one: bool, negotiated: &Negotiated) -> Result<Request, Failure> {
    if negotiated.allocation_context.is_none() {
        return Err(invalid("no metadata context was negotiated"));
    }
    if extent.is_empty() {
        // The answer would need a descriptor, and a descriptor's length must not be zero.
        return Err(invalid("the block status of nothing cannot be told"));
    }
    Ok(Request::BlockStatus { extent, one })
}

fn check_alignment(request: &Request, device: &DeviceInfo) -> Result<(), Failure> {
    let block = u64::from(device.block_size_min.max(1));
    match request.extent() {
        Some(extent) if extent.start() % block != 0 || extent.len() % block != 0 => {
            Err(invalid(format!("{extent} is not a multiple of the block size {block}")))
        }
        _ => Ok(()),
    }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(Errno::Inval, message)
}

#[cfg(test)]
mod tests;
