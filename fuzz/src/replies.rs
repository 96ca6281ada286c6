//! The replies that a server sends to our client.

use std::collections::HashMap;

use blockferry_block::Extent;
use blockferry_device::{Failure, Reply, Request};
use blockferry_nbd_wire::{
    Assembler, Cookie, Negotiated, ReplyDecoder, ReplyError, ReplyFrame, Style,
};
use bytes::Bytes;

use crate::pieces::feed;

/// The framing that the variant names.
pub const fn style(variant: u8) -> Style {
    match variant & 3 {
        0 => Style::Simple,
        1 => Style::Structured,
        _ => Style::Extended,
    }
}

/// What our client has asked, each under its number as cookie.
pub fn asked() -> Vec<Request> {
    let extent = Extent::between(512, 1536);
    vec![
        Request::Read { extent, dont_fragment: false },
        Request::Read { extent, dont_fragment: true },
        Request::Read { extent: Extent::between(7, 7), dont_fragment: false },
        Request::Write { offset: 0, data: Bytes::from_static(b"data"), fua: false },
        Request::BlockStatus { extent, one: false },
        Request::BlockStatus { extent, one: true },
        Request::Flush,
        Request::Trim { extent, fua: false },
    ]
}

/// A server's bytes after the handshake; the first byte picks the framing.
pub fn reply_parser(data: &[u8]) {
    let Some((variant, data)) = data.split_first() else { return };
    let (answers, end) = receive(*variant, data, None);
    let again = receive(*variant, data, Some(1 + data.len() % 7));
    assert_eq!((&answers, end), (&again.0, again.1));
    let asked = asked();
    for (cookie, answer) in answers {
        check(&asked[usize::try_from(cookie).unwrap()], &answer);
    }
}

type Answered = Vec<(u64, Result<Reply, Failure>)>;

fn receive(variant: u8, data: &[u8], length: Option<usize>) -> (Answered, Option<ReplyError>) {
    let negotiated = Negotiated { style: style(variant), allocation_context: Some(1) };
    let mut waiting: HashMap<u64, Assembler> = (0..)
        .zip(asked())
        .map(|(cookie, request)| {
            let flag = matches!(request, Request::Read { dont_fragment: true, .. });
            (cookie, Assembler::new(&request, &negotiated, flag))
        })
        .collect();
    let mut decoder = ReplyDecoder::new(negotiated.style);
    let mut answers = Vec::new();
    let end = feed(data, length, |input| {
        loop {
            match decoder.decode(input, |cookie: Cookie| waiting.get(&cookie.0)) {
                Err(error) => return Some(error),
                Ok(None) => {
                    // Nobody can make the client keep more than it asked for.
                    assert!(input.len() + decoder.missing(input) <= 20 << 20);
                    return None;
                }
                Ok(Some(frame)) => match take(&mut waiting, frame) {
                    Err(error) => return Some(error),
                    Ok(answer) => answers.extend(answer),
                },
            }
        }
    });
    (answers, end)
}

fn take(
    waiting: &mut HashMap<u64, Assembler>,
    frame: ReplyFrame,
) -> Result<Option<(u64, Result<Reply, Failure>)>, ReplyError> {
    let cookie = frame.header.cookie().0;
    let assembler = waiting.get_mut(&cookie).expect("the decoder has looked");
    let Some(outcome) = assembler.take(frame)? else { return Ok(None) };
    waiting.remove(&cookie);
    Ok(Some((cookie, outcome)))
}

/// An answer, whatever the server did, fits the request.
fn check(request: &Request, answer: &Result<Reply, Failure>) {
    let length = request.extent().map_or(0, Extent::len);
    match (request, answer) {
        (_, Err(_)) => {}
        (Request::Read { dont_fragment, .. }, Ok(Reply::Read(parts))) => {
            assert_eq!(parts.iter().map(|part| part.len()).sum::<u64>(), length);
            assert!(parts.iter().all(|part| !part.is_empty()));
            assert!(!dont_fragment || parts.len() == 1);
        }
        (Request::BlockStatus { one, .. }, Ok(Reply::BlockStatus(segments))) => {
            assert!(!segments.is_empty() && segments.iter().all(|segment| segment.length > 0));
            assert!(segments.iter().map(|segment| segment.length).sum::<u64>() <= length);
            assert!(!one || segments.len() == 1);
        }
        (_, Ok(Reply::Done)) => {}
        (request, answer) => panic!("{answer:?} does not answer {request:?}"),
    }
}
