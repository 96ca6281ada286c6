use bytes::Buf;
use proptest::prelude::*;

use super::*;
use crate::outbox::Outbox;

const BOTH: Digests = Digests { header: true, data: true };

fn encoded(digests: Digests, pdus: &[(Vec<u8>, Vec<u8>)]) -> BytesMut {
    let mut outbox = Outbox::new();
    outbox.set_digests(digests);
    for (ahs, data) in pdus {
        outbox.put_pdu(Header::new(Opcode::SCSI_COMMAND), ahs, data);
    }
    let length = outbox.remaining();
    BytesMut::from(&outbox.copy_to_bytes(length)[..])
}

fn decoder(digests: Digests) -> Decoder {
    let mut decoder = Decoder::new();
    decoder.set(digests, 4096);
    decoder
}

#[test]
fn data_longer_than_declared_is_refused_before_it_comes() {
    let mut input = encoded(Digests::default(), &[(vec![], vec![0; 4097])]);
    input.truncate(Header::BYTES);
    let refused = decoder(Digests::default()).decode(&mut input);
    let opcode = Opcode::SCSI_COMMAND;
    assert_eq!(refused, Err(FrameError::DataTooLong { opcode, length: 4097, limit: 4096 }));
}

#[test]
fn a_login_has_the_default_limit() {
    let mut input = encoded(Digests::default(), &[(vec![], vec![0; 8193])]);
    assert!(matches!(Decoder::new().decode(&mut input), Err(FrameError::DataTooLong { .. })));
    let mut input = encoded(Digests::default(), &[(vec![], vec![0; 8192])]);
    assert!(matches!(Decoder::new().decode(&mut input), Ok(Some(_))));
}

#[test]
fn additional_headers_beyond_the_limit_are_refused_before_they_come() {
    let mut input = encoded(Digests::default(), &[(vec![0; AHS_BYTES_MAX + 4], vec![])]);
    input.truncate(Header::BYTES);
    let refused = decoder(Digests::default()).decode(&mut input);
    assert!(matches!(refused, Err(FrameError::AhsTooLong { length: 260, .. })));
}

#[test]
fn any_flipped_bit_is_found_by_the_digests() {
    let whole = encoded(BOTH, &[(vec![1; 8], b"hello".to_vec())]);
    for bit in 0..whole.len() * 8 {
        let mut input = whole.clone();
        input[bit / 8] ^= 1 << (bit % 8);
        let taken = decoder(BOTH).decode(&mut input);
        // A damaged length may ask for bytes that never come.
        assert!(!matches!(taken, Ok(Some(_))), "bit {bit}");
    }
}

#[test]
fn a_caller_may_take_the_data_itself() {
    let mut input = encoded(BOTH, &[(vec![], b"hello".to_vec()), (vec![], vec![])]);
    let payload = input.split_off(Header::BYTES + DIGEST_BYTES);
    let mut decoder = decoder(BOTH);
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!((decoder.missing(&input), input.len()), (12, 0));
    let begun = decoder.hand_over().unwrap();
    assert_eq!(begun.rest(), 12);
    let (rest, mut next) = (Bytes::copy_from_slice(&payload[..12]), BytesMut::from(&payload[12..]));
    let mut damaged = BytesMut::from(&rest[..]);
    damaged[2] ^= 1;
    let refused = begun.clone().finish(damaged.freeze());
    assert_eq!(refused, Err(FrameError::DataDigest(Opcode::SCSI_COMMAND)));
    assert_eq!(begun.finish(rest).unwrap().data, b"hello"[..]);
    assert_eq!(decoder.decode(&mut next).unwrap().unwrap().data, b""[..]);
}

#[test]
fn data_stays_where_it_was_received() {
    let mut input = encoded(Digests::default(), &[(vec![], vec![7; 1000])]);
    let place = input[Header::BYTES..].as_ptr();
    let pdu = decoder(Digests::default()).decode(&mut input).unwrap().unwrap();
    assert_eq!(pdu.data.as_ptr(), place);
}

fn pdus() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let ahs = (0..16_usize).prop_map(|words| vec![3; words * 4]);
    let data = proptest::collection::vec(any::<u8>(), 0..300);
    proptest::collection::vec((ahs, data), 0..5)
}

proptest! {
    #[test]
    fn pdus_come_back_however_the_bytes_are_cut(
        pdus in pdus(), header: bool, data: bool, step in 1..200_usize,
    ) {
        let digests = Digests { header, data };
        let bytes = encoded(digests, &pdus);
        let mut decoder = decoder(digests);
        let (mut input, mut taken) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(step) {
            prop_assert!(decoder.missing(&input) > 0);
            input.extend_from_slice(piece);
            while let Some(pdu) = decoder.decode(&mut input).unwrap() {
                taken.push((pdu.ahs.to_vec(), pdu.data.to_vec()));
            }
        }
        prop_assert_eq!(taken, pdus);
        prop_assert!(!decoder.is_inside(&input));
    }

    #[test]
    fn any_bytes_are_pdus_or_refused(bytes: Vec<u8>, header: bool, data: bool) {
        let mut decoder = decoder(Digests { header, data });
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(pdu)) = decoder.decode(&mut input) {
            prop_assert!(pdu.data.len() <= 4096);
        }
    }
}
