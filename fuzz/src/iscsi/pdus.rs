//! Headers and streams of PDUs.

use blockferry_iscsi::pdu::{Request, Response};
use blockferry_iscsi::{Decoder, Digests, Header, Outbox, Pdu};
use bytes::BytesMut;

use crate::pieces::feed;

/// Bytes as headers, as a stream, and as the content of PDUs of our own.
pub fn iscsi_pdus(data: &[u8]) {
    let Some((variant, data)) = data.split_first() else { return };
    let digests = Digests { header: variant & 1 != 0, data: variant & 2 != 0 };
    for header in data.as_chunks::<{ Header::BYTES }>().0 {
        fields(&Header(*header));
    }
    let whole = decode(digests, data, None);
    assert_eq!(whole, decode(digests, data, Some(1 + data.len() % 7)));
    if let Some((header, content)) = data.split_first_chunk::<{ Header::BYTES }>() {
        round_trip(digests, Header(*header), content, *variant);
    }
}

/// What is understood of a header survives being written.
fn fields(header: &Header) {
    let request = Request::decode(header);
    assert_eq!(request.and_then(|pdu| Request::decode(&pdu.encode())), request);
    let response = Response::decode(header);
    assert_eq!(response.and_then(|pdu| Response::decode(&pdu.encode())), response);
    assert!(request.is_none() || response.is_none());
}

/// The PDUs of the bytes, and whether they end with a fault.
fn decode(digests: Digests, data: &[u8], length: Option<usize>) -> (Vec<Pdu>, bool) {
    let mut decoder = Decoder::new();
    decoder.set(digests, 4096);
    let mut pdus = Vec::new();
    let end = feed(data, length, |input| {
        loop {
            match decoder.decode(input) {
                Ok(Some(pdu)) => pdus.push(pdu),
                Ok(None) => {
                    assert!(decoder.missing(input) > 0);
                    return None;
                }
                Err(_) => return Some(()),
            }
        }
    });
    (pdus, end.is_some())
}

/// A PDU of the content comes back, and one that is damaged does not.
fn round_trip(digests: Digests, header: Header, content: &[u8], variant: u8) {
    let Some(request) = Request::decode(&header) else { return };
    let content = &content[..content.len().min(4096)];
    let mut outbox = Outbox::new();
    outbox.set_digests(digests);
    outbox.put_pdu(request.encode(), &[0; 8], content);
    let bytes = outbox.pieces().collect::<Vec<_>>().concat();
    let (pdus, fault) = decode(digests, &bytes, None);
    assert!(!fault && pdus.len() == 1);
    assert_eq!((&pdus[0].data[..], &pdus[0].ahs[..]), (content, &[0; 8][..]));
    assert_eq!(Request::decode(&pdus[0].header), Some(request));
    if digests.header && digests.data {
        let mut damaged = BytesMut::from(&bytes[..]);
        let at = usize::from(variant) * 7 % damaged.len();
        damaged[at] ^= 1 << (variant % 8);
        assert!(decode(digests, &damaged, None).0.is_empty());
    }
}
