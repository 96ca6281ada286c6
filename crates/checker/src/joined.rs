//! The content of a read's answer in one piece of memory.

use blockferry_block::Extent;
use blockferry_device::{ReadPart, Reply};
use bytes::{Bytes, BytesMut};

/// The bytes that were read, as many as the extent has; `None` when the reply is something else.
pub(crate) fn joined(reply: Reply, extent: Extent) -> Option<Bytes> {
    let Reply::Read(parts) = reply else { return None };
    let length = parts.iter().map(ReadPart::len).fold(0, u64::saturating_add);
    if length != extent.len() {
        return None;
    }
    if let [ReadPart::Data(data)] = &*parts {
        return Some(data.clone());
    }
    let mut bytes = BytesMut::with_capacity(usize::try_from(length).ok()?);
    for part in parts {
        match part {
            ReadPart::Data(data) => bytes.extend_from_slice(&data),
            ReadPart::Hole(hole) => bytes.resize(bytes.len() + usize::try_from(hole).ok()?, 0),
        }
    }
    Some(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_read_as_zeroes_and_a_short_answer_is_none() {
        let reply = Reply::Read(vec![ReadPart::Data(Bytes::from_static(b"ab")), ReadPart::Hole(2)]);
        let content = joined(reply.clone(), Extent::between(10, 14));
        assert_eq!(content.as_deref(), Some(&b"ab\0\0"[..]));
        assert_eq!(joined(reply, Extent::between(10, 15)), None);
        assert_eq!(joined(Reply::Done, Extent::between(0, 0)), None);
    }
}
