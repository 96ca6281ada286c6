//! Each option, as a client may send it: well, badly, too often, too long.

use blockferry_block::{Generation, SessionId};
use blockferry_device::{DeviceInfo, Features};

use super::*;
use crate::limits::{META_QUERIES_MAX, STRING_BYTES_MAX};
use crate::request::Negotiated;

/// A conversation with a server that has one export, `vol`.
struct Talk {
    server: ServerHandshake,
    input: BytesMut,
}

/// A reply to an option.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    option: u32,
    code: u32,
    data: Vec<u8>,
}

fn vol() -> ExportInfo {
    let features = Features { flush: true, block_status: true, ..Features::default() };
    ExportInfo {
        name: "vol".to_owned(),
        description: "a volume".to_owned(),
        device: DeviceInfo::new(1 << 20, features),
    }
}

fn option(code: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u64(c::OPTION_MAGIC);
    bytes.put_u32(code);
    bytes.put_u32(u32::try_from(data.len()).unwrap());
    bytes.put_slice(data);
    bytes
}

fn go(name: &str, wishes: &[u16]) -> Vec<u8> {
    let mut data = counted(name);
    data.put_u16(u16::try_from(wishes.len()).unwrap());
    wishes.iter().for_each(|wish| data.put_u16(*wish));
    data
}

fn meta(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = counted(name);
    data.put_u32(u32::try_from(queries.len()).unwrap());
    queries.iter().for_each(|query| data.extend(counted(query)));
    data
}

fn counted(text: &str) -> Vec<u8> {
    let mut data = Vec::new();
    data.put_u32(u32::try_from(text.len()).unwrap());
    data.put_slice(text.as_bytes());
    data
}

impl Talk {
    fn with_flags(flags: u32) -> Self {
        let mut server = ServerHandshake::new();
        let greeting = server.take_output();
        assert_eq!(greeting[..], *b"NBDMAGICIHAVEOPT\0\x03");
        Self { server, input: BytesMut::from(&flags.to_be_bytes()[..]) }
    }

    fn new() -> Self {
        Self::with_flags(3)
    }

    fn step(&mut self) -> Result<ServerStep, ServerError> {
        self.server.step(&mut self.input)
    }

    /// Sends the option and answers the questions it raises, as a server with `vol` would.
    fn send(&mut self, code: u32, data: &[u8]) -> Result<ServerStep, ServerError> {
        self.input.extend_from_slice(&option(code, data));
        loop {
            match self.step()? {
                ServerStep::Open { name, .. } if name == "vol" => {
                    self.server.answer_open(Ok(&vol()));
                }
                ServerStep::Open { .. } => {
                    self.server.answer_open(Err(Refusal::unknown("no such export")));
                }
                ServerStep::List => self.server.answer_list(&[ExportEntry {
                    name: "vol".to_owned(),
                    description: "a volume".to_owned(),
                }]),
                ServerStep::Fence(_) => self.server.answer_fence(Ok(())),
                step => return Ok(step),
            }
        }
    }

    /// The replies to one option that keeps the haggling going.
    fn ask(&mut self, code: u32, data: &[u8]) -> Vec<Answer> {
        assert_eq!(self.send(code, data), Ok(ServerStep::ReadMore));
        self.answers()
    }

    fn answers(&mut self) -> Vec<Answer> {
        let mut output = self.server.take_output();
        let mut answers = Vec::new();
        while !output.is_empty() {
            assert_eq!(output.get_u64(), c::OPTION_REPLY_MAGIC);
            let (option, code) = (output.get_u32(), output.get_u32());
            let length = output.get_u32() as usize;
            answers.push(Answer { option, code, data: output.split_to(length).to_vec() });
        }
        answers
    }

    /// The code of the one reply.
    fn code(&mut self, code: u32, data: &[u8]) -> u32 {
        let answers = self.ask(code, data);
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0].option, code);
        answers[0].code
    }
}

#[test]
fn unknown_client_flags_end_the_connection() {
    for flags in [4, 1 << 31, 7] {
        assert_eq!(Talk::with_flags(flags).step(), Err(ServerError::ClientFlags(flags)));
    }
}

#[test]
fn an_option_without_its_magic_ends_the_connection() {
    let mut talk = Talk::new();
    talk.input.extend_from_slice(&[0; 16]);
    assert_eq!(talk.step(), Err(ServerError::OptionMagic(0)));
}

#[test]
fn an_option_longer_than_its_limit_ends_the_connection_before_its_data_comes() {
    for length in [OPTION_BYTES_MAX + 1, u32::MAX] {
        let mut talk = Talk::new();
        talk.input.put_u64(c::OPTION_MAGIC);
        talk.input.put_u32(c::OPT_INFO);
        talk.input.put_u32(length);
        assert!(matches!(talk.step(), Err(ServerError::OptionTooLong { .. })));
    }
}

#[test]
fn a_thirty_third_option_ends_the_connection() {
    let mut talk = Talk::new();
    for _ in 0..OPTIONS_MAX {
        assert_eq!(talk.code(99, b""), c::REP_ERR_UNSUP);
    }
    assert_eq!(talk.send(99, b""), Err(ServerError::TooManyOptions));
}

#[test]
fn an_option_that_comes_byte_by_byte_is_understood_all_the_same() {
    let mut talk = Talk::new();
    for byte in option(c::OPT_STRUCTURED_REPLY, b"") {
        assert_eq!(talk.step(), Ok(ServerStep::ReadMore));
        assert_eq!(talk.answers(), []);
        talk.input.put_u8(byte);
    }
    assert_eq!(talk.step(), Ok(ServerStep::ReadMore));
    assert_eq!(talk.answers()[0].code, c::REP_ACK);
}

#[test]
fn unknown_options_are_unsupported_and_their_data_is_skipped() {
    let mut talk = Talk::new();
    for code in [0, c::OPT_STARTTLS, 4, 12, 0x4246_0003, u32::MAX] {
        assert_eq!(talk.code(code, b"anything"), c::REP_ERR_UNSUP);
    }
    assert_eq!(talk.code(c::OPT_STRUCTURED_REPLY, b""), c::REP_ACK);
}

#[test]
fn export_name_is_answered_with_and_without_zeroes() {
    for (flags, length) in [(1, 134), (3, 10), (0, 134), (2, 10)] {
        let mut talk = Talk::with_flags(flags);
        let negotiated = Negotiated { style: Style::Simple, allocation_context: None };
        assert_eq!(talk.send(c::OPT_EXPORT_NAME, b"vol"), Ok(ServerStep::Transmit(negotiated)));
        let output = talk.server.take_output();
        assert_eq!(output.len(), length);
        assert_eq!(output[..8], (1_u64 << 20).to_be_bytes());
        assert_eq!(output[8..10], [0, 0b101]);
        assert!(output[10..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn export_name_has_no_error_but_the_end() {
    assert!(matches!(
        Talk::new().send(c::OPT_EXPORT_NAME, b"other"),
        Err(ServerError::CannotRefuse(_))
    ));
    for name in [&b"\xff"[..], b"a\0b", &[b'a'; STRING_BYTES_MAX + 1]] {
        let outcome = Talk::new().send(c::OPT_EXPORT_NAME, name);
        assert!(matches!(outcome, Err(ServerError::ExportName(_))));
    }
}

#[test]
fn without_fixed_newstyle_only_export_name_is_taken() {
    let outcome = Talk::with_flags(0).send(c::OPT_LIST, b"");
    assert_eq!(outcome, Err(ServerError::NotFixed(OptionCode(c::OPT_LIST))));
}

#[test]
fn abort_is_acknowledged_whatever_data_it_has() {
    let mut talk = Talk::new();
    assert_eq!(talk.send(c::OPT_ABORT, b"bye"), Ok(ServerStep::Ended));
    assert_eq!(talk.answers()[0].code, c::REP_ACK);
}

#[test]
fn list_tells_names_and_descriptions_and_takes_no_data() {
    let mut talk = Talk::new();
    let answers = talk.ask(c::OPT_LIST, b"");
    let codes: Vec<_> = answers.iter().map(|answer| answer.code).collect();
    assert_eq!(codes, [c::REP_SERVER, c::REP_ACK]);
    assert_eq!(answers[0].data, [&counted("vol")[..], b"a volume"].concat());
    assert_eq!(talk.code(c::OPT_LIST, b"x"), c::REP_ERR_INVALID);
}

#[test]
fn info_tells_what_was_asked_for_and_the_haggling_goes_on() {
    let mut talk = Talk::new();
    let wishes = [c::INFO_NAME, c::INFO_DESCRIPTION, c::INFO_BLOCK_SIZE, 77];
    let answers = talk.ask(c::OPT_INFO, &go("vol", &wishes));
    let kinds: Vec<_> =
        answers.iter().filter(|a| a.code == c::REP_INFO).map(|a| a.data[1]).collect();
    assert_eq!(kinds, [0, 1, 2, 3]);
    assert_eq!(answers[0].data.len(), 12);
    assert_eq!(answers[1].data[2..], *b"vol");
    assert_eq!(answers[2].data[2..], *b"a volume");
    let sizes = [1_u32.to_be_bytes(), 4096_u32.to_be_bytes(), (32_u32 << 20).to_be_bytes()];
    assert_eq!(answers[3].data[2..], sizes.concat());
    assert_eq!(answers[4].code, c::REP_ACK);
    let answers = talk.ask(c::OPT_INFO, &go("vol", &[]));
    assert_eq!(answers.len(), 2);
}

#[test]
fn go_begins_the_transmission_and_leaves_what_follows_to_it() {
    let mut talk = Talk::new();
    assert_eq!(talk.step(), Ok(ServerStep::ReadMore));
    let go = option(c::OPT_GO, &go("vol", &[]));
    talk.input.extend_from_slice(&go);
    talk.input.extend_from_slice(b"request");
    assert!(matches!(talk.step(), Ok(ServerStep::Open { purpose: Purpose::Go, .. })));
    talk.server.answer_open(Ok(&vol()));
    assert!(matches!(talk.step(), Ok(ServerStep::Transmit(_))));
    assert_eq!(talk.input[..], *b"request");
}

#[test]
fn go_for_an_unknown_export_is_refused_and_the_haggling_goes_on() {
    let mut talk = Talk::new();
    let answers = talk.ask(c::OPT_GO, &go("other", &[]));
    assert_eq!(answers[0].code, c::REP_ERR_UNKNOWN);
    assert_eq!(answers[0].data, b"no such export");
    assert!(matches!(talk.send(c::OPT_GO, &go("vol", &[])), Ok(ServerStep::Transmit(_))));
}

#[test]
fn go_with_a_broken_body_is_invalid() {
    let whole = go("vol", &[1, 2]);
    let mut talk = Talk::new();
    for end in [0, 3, 4, 6, 7, 8, 9, 12] {
        assert_eq!(talk.code(c::OPT_GO, &whole[..end]), c::REP_ERR_INVALID, "cut at {end}");
    }
    let longer = [&whole[..], b"x"].concat();
    assert_eq!(talk.code(c::OPT_GO, &longer), c::REP_ERR_INVALID);
    let name = "a".repeat(STRING_BYTES_MAX + 1);
    assert_eq!(talk.code(c::OPT_INFO, &go(&name, &[])), c::REP_ERR_INVALID);
}

#[test]
fn a_refusal_longer_than_a_string_is_cut() {
    let mut talk = Talk::new();
    talk.input.extend_from_slice(&option(c::OPT_GO, &go("other", &[])));
    assert!(matches!(talk.step(), Ok(ServerStep::Open { .. })));
    talk.server.answer_open(Err(Refusal::policy("x".repeat(10_000))));
    assert_eq!(talk.answers()[0].data.len(), STRING_BYTES_MAX);
}

#[test]
fn structured_replies_are_negotiated_once_and_take_no_data() {
    let mut talk = Talk::new();
    assert_eq!(talk.code(c::OPT_STRUCTURED_REPLY, b"x"), c::REP_ERR_INVALID);
    assert_eq!(talk.code(c::OPT_STRUCTURED_REPLY, b""), c::REP_ACK);
    assert_eq!(talk.code(c::OPT_STRUCTURED_REPLY, b""), c::REP_ERR_INVALID);
    let outcome = talk.send(c::OPT_EXPORT_NAME, b"vol");
    let negotiated = Negotiated { style: Style::Structured, allocation_context: None };
    assert_eq!(outcome, Ok(ServerStep::Transmit(negotiated)));
}

#[test]
fn dont_fragment_is_told_only_after_structured_replies() {
    let mut talk = Talk::new();
    let before = talk.ask(c::OPT_INFO, &go("vol", &[]));
    talk.ask(c::OPT_STRUCTURED_REPLY, b"");
    let after = talk.ask(c::OPT_INFO, &go("vol", &[]));
    assert_eq!(before[0].data[11] & 0x80, 0);
    assert_eq!(after[0].data[11] & 0x80, 0x80);
}

#[test]
fn extended_headers_take_precedence_and_forbid_export_name() {
    let mut talk = Talk::new();
    assert_eq!(talk.code(c::OPT_STRUCTURED_REPLY, b""), c::REP_ACK);
    assert_eq!(talk.code(c::OPT_EXTENDED_HEADERS, b"x"), c::REP_ERR_INVALID);
    assert_eq!(talk.code(c::OPT_EXTENDED_HEADERS, b""), c::REP_ACK);
    assert_eq!(talk.code(c::OPT_EXTENDED_HEADERS, b""), c::REP_ERR_INVALID);
    assert_eq!(talk.code(c::OPT_STRUCTURED_REPLY, b""), c::REP_ERR_EXT_HEADER_REQD);
    let outcome = talk.send(c::OPT_EXPORT_NAME, b"vol");
    assert!(matches!(outcome, Err(ServerError::ExportName(_))));
}

#[test]
fn metadata_options_need_structured_replies_first() {
    let mut talk = Talk::new();
    for code in [c::OPT_LIST_META_CONTEXT, c::OPT_SET_META_CONTEXT] {
        assert_eq!(talk.code(code, &meta("vol", &[c::BASE_ALLOCATION])), c::REP_ERR_INVALID);
    }
}

#[test]
fn listing_contexts_knows_the_base_wildcard_and_ignores_strangers() {
    let mut talk = Talk::new();
    talk.ask(c::OPT_STRUCTURED_REPLY, b"");
    let listed = [&b"\0\0\0\0"[..], c::BASE_ALLOCATION.as_bytes()].concat();
    for queries in [&[][..], &["base:"], &["x-other:y", "base:allocation"]] {
        let answers = talk.ask(c::OPT_LIST_META_CONTEXT, &meta("vol", queries));
        assert_eq!(answers.len(), 2, "{queries:?}");
        assert_eq!((answers[0].code, &answers[0].data), (c::REP_META_CONTEXT, &listed));
    }
    for queries in [&["x-other:"][..], &["base:other"], &["nocolon"]] {
        let code = talk.code(c::OPT_LIST_META_CONTEXT, &meta("vol", queries));
        assert_eq!(code, c::REP_ACK, "{queries:?}");
    }
    let code = talk.code(c::OPT_LIST_META_CONTEXT, &meta("other", &[]));
    assert_eq!(code, c::REP_ERR_UNKNOWN);
}

#[test]
fn selecting_contexts_knows_no_wildcard() {
    let mut talk = Talk::new();
    talk.ask(c::OPT_STRUCTURED_REPLY, b"");
    for queries in [&[][..], &["base:"], &["x-other:y"]] {
        let code = talk.code(c::OPT_SET_META_CONTEXT, &meta("vol", queries));
        assert_eq!(code, c::REP_ACK, "{queries:?}");
    }
    let answers = talk.ask(c::OPT_SET_META_CONTEXT, &meta("vol", &["base:", "base:allocation"]));
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].data, [&b"\0\0\0\x01"[..], c::BASE_ALLOCATION.as_bytes()].concat());
}

#[test]
fn too_many_queries_are_too_big() {
    let mut talk = Talk::new();
    talk.ask(c::OPT_STRUCTURED_REPLY, b"");
    let queries = vec!["base:allocation"; META_QUERIES_MAX as usize + 1];
    assert_eq!(talk.code(c::OPT_SET_META_CONTEXT, &meta("vol", &queries)), c::REP_ERR_TOO_BIG);
}

/// What the last `GO` negotiates after the selections.
fn context_after(selections: &[(&str, &[&str])], go_name: &str) -> Option<u32> {
    let mut talk = Talk::new();
    talk.ask(c::OPT_EXTENDED_HEADERS, b"");
    for (name, queries) in selections {
        talk.ask(c::OPT_SET_META_CONTEXT, &meta(name, queries));
    }
    match talk.send(c::OPT_GO, &go(go_name, &[])) {
        Ok(ServerStep::Transmit(negotiated)) => negotiated.allocation_context,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_selection_counts_only_for_its_export_and_until_the_next() {
    let allocation: &[&str] = &["base:allocation"];
    assert_eq!(context_after(&[("vol", allocation)], "vol"), Some(1));
    assert_eq!(context_after(&[], "vol"), None);
    assert_eq!(context_after(&[("vol", allocation), ("vol", &[])], "vol"), None);
    assert_eq!(context_after(&[("vol", allocation), ("other", allocation)], "vol"), None);
}

#[test]
fn an_export_without_block_status_offers_no_context() {
    let mut talk = Talk::new();
    talk.ask(c::OPT_STRUCTURED_REPLY, b"");
    let selection = option(c::OPT_SET_META_CONTEXT, &meta("vol", &["base:allocation"]));
    talk.input.extend_from_slice(&selection);
    assert!(matches!(talk.step(), Ok(ServerStep::Open { purpose: Purpose::Info, .. })));
    let mut plain = vol();
    plain.device.features.block_status = false;
    talk.server.answer_open(Ok(&plain));
    let codes: Vec<_> = talk.answers().iter().map(|answer| answer.code).collect();
    assert_eq!(codes, [c::REP_ACK]);
}

#[test]
fn a_role_is_claimed_once_and_known_when_the_export_is_opened() {
    let mut data = vec![0, 1, 1, 0];
    data.extend([0; 16 + 32 + 16 + 8 * 4 + 2]);
    let mut talk = Talk::new();
    assert_eq!(talk.code(c::OPT_BLOCKFERRY_ROLE, &data[1..]), c::REP_ERR_INVALID);
    assert!(talk.server.role().is_none());
    assert_eq!(talk.code(c::OPT_BLOCKFERRY_ROLE, &data), c::REP_ACK);
    assert_eq!(talk.code(c::OPT_BLOCKFERRY_ROLE, &data), c::REP_ERR_INVALID);
    assert_eq!(talk.server.role().map(|claim| claim.role), Some(crate::Role::Copy));
}

#[test]
fn a_fence_is_acknowledged_when_the_caller_says_so() {
    let fence = FenceRequest {
        export: "vol".to_owned(),
        session: SessionId::from_bytes([1; 16]),
        generation: Generation(2),
    };
    let mut data = Vec::new();
    fence.encode(&mut data);
    let mut talk = Talk::new();
    talk.input.extend_from_slice(&option(c::OPT_BLOCKFERRY_FENCE, &data));
    assert_eq!(talk.step(), Ok(ServerStep::Fence(fence)));
    assert_eq!(talk.answers(), []);
    talk.server.answer_fence(Err(Refusal::unknown("no")));
    assert_eq!(talk.answers()[0].code, c::REP_ERR_UNKNOWN);
    assert_eq!(talk.code(c::OPT_BLOCKFERRY_FENCE, &data), c::REP_ACK);
    assert_eq!(talk.code(c::OPT_BLOCKFERRY_FENCE, b"x"), c::REP_ERR_INVALID);
}
