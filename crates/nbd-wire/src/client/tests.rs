//! The client's handshake with servers of every age, and with hostile ones.

use blockferry_block::{BootId, ClaimEpoch, Generation, MigrationId, SessionId, Token};

use super::*;
use crate::fence::FenceRequest;
use crate::limits::{LIST_ENTRIES_MAX, OPTION_REPLIES_MAX, OPTION_REPLY_BYTES_MAX};
use crate::role::{Role, RoleClaim};

/// A conversation with a client, the server's part played by hand.
struct Talk {
    client: ClientHandshake,
    input: BytesMut,
}

/// An option that the client sent.
type Sent = (u32, Vec<u8>);

fn join(block_status: bool, role: Option<RoleClaim>) -> Goal {
    Goal::Join { export: "vol".to_owned(), block_status, role }
}

fn claim() -> RoleClaim {
    RoleClaim {
        role: Role::Copy,
        standby: false,
        migration: MigrationId::from_bytes([1; 16]),
        token: Token::from_bytes([2; 32]),
        session: SessionId::from_bytes([3; 16]),
        generation: Generation(4),
        source_boot: BootId(5),
        destination_boot: BootId(6),
        claim_epoch: ClaimEpoch(7),
        arrangement: String::new(),
    }
}

fn fence() -> Goal {
    Goal::Fence(FenceRequest {
        export: "vol".to_owned(),
        session: SessionId::from_bytes([1; 16]),
        generation: Generation(2),
    })
}

impl Talk {
    fn new(goal: Goal) -> Self {
        Self::with(goal, Manners::Full, 3)
    }

    fn with(goal: Goal, manners: Manners, flags: u16) -> Self {
        let client = ClientHandshake::new(ClientConfig { goal, manners });
        let mut input = BytesMut::new();
        input.put_u64(c::INIT_MAGIC);
        input.put_u64(c::OPTION_MAGIC);
        input.put_u16(flags);
        let mut talk = Self { client, input };
        if talk.step().is_ok() {
            assert_eq!(talk.client.output.get_u32(), u32::from(flags & 3));
        }
        talk
    }

    fn step(&mut self) -> Result<ClientStep, ClientError> {
        self.client.step(&mut self.input)
    }

    /// The one option that the client has sent.
    fn sent(&mut self) -> Sent {
        let mut output = self.client.take_output();
        assert_eq!(output.get_u64(), c::OPTION_MAGIC);
        let option = output.get_u32();
        assert_eq!(output.get_u32() as usize, output.len());
        (option, output.to_vec())
    }

    fn expect(&mut self, option: u32) -> Vec<u8> {
        let (sent, data) = self.sent();
        assert_eq!(OptionCode(sent), OptionCode(option));
        data
    }

    fn reply(&mut self, option: u32, code: u32, data: &[u8]) -> Result<ClientStep, ClientError> {
        self.input.put_u64(c::OPTION_REPLY_MAGIC);
        self.input.put_u32(option);
        self.input.put_u32(code);
        self.input.put_u32(u32::try_from(data.len()).unwrap());
        self.input.put_slice(data);
        self.step()
    }

    /// The client sends the option and gets the reply; it goes on.
    fn exchange(&mut self, option: u32, code: u32) {
        self.expect(option);
        assert_eq!(self.reply(option, code, b""), Ok(ClientStep::ReadMore));
    }

    fn info(&mut self, size: u64, flags: u16) -> Result<ClientStep, ClientError> {
        let data = [&[0, 0][..], &size.to_be_bytes(), &flags.to_be_bytes()].concat();
        self.reply(c::OPT_GO, c::REP_INFO, &data)
    }

    fn sizes(&mut self, sizes: [u32; 3]) -> Result<ClientStep, ClientError> {
        let sizes = sizes.map(u32::to_be_bytes).concat();
        self.reply(c::OPT_GO, c::REP_INFO, &[&[0, 3][..], &sizes].concat())
    }

    /// Goes through everything up to `GO` with a server that knows nothing else.
    fn up_to_go(&mut self) {
        self.exchange(c::OPT_EXTENDED_HEADERS, c::REP_ERR_UNSUP);
        self.exchange(c::OPT_STRUCTURED_REPLY, c::REP_ERR_UNSUP);
        self.expect(c::OPT_GO);
    }

    fn joined(step: Result<ClientStep, ClientError>) -> Joined {
        match step {
            Ok(ClientStep::Finished(ClientOutcome::Joined(joined))) => joined,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_server_that_knows_everything_is_asked_for_everything_in_order() {
    let mut talk = Talk::new(join(true, Some(claim())));
    talk.exchange(c::OPT_EXTENDED_HEADERS, c::REP_ACK);
    let data = talk.expect(c::OPT_BLOCKFERRY_ROLE);
    assert_eq!(RoleClaim::decode(&data), Ok(claim()));
    assert_eq!(talk.reply(c::OPT_BLOCKFERRY_ROLE, c::REP_ACK, b""), Ok(ClientStep::ReadMore));
    let query = talk.expect(c::OPT_SET_META_CONTEXT);
    assert_eq!(query, b"\0\0\0\x03vol\0\0\0\x01\0\0\0\x0fbase:allocation");
    let context = [&b"\0\0\0\x2a"[..], b"base:allocation"].concat();
    let step = talk.reply(c::OPT_SET_META_CONTEXT, c::REP_META_CONTEXT, &context);
    assert_eq!(step, Ok(ClientStep::ReadMore));
    assert_eq!(talk.reply(c::OPT_SET_META_CONTEXT, c::REP_ACK, b""), Ok(ClientStep::ReadMore));
    assert_eq!(talk.expect(c::OPT_GO), b"\0\0\0\x03vol\0\x01\0\x03");
    talk.info(1 << 30, 0b1000_1101).unwrap();
    talk.sizes([512, 4096, 1 << 20]).unwrap();
    talk.reply(c::OPT_GO, c::REP_INFO, &[0x77, 0x77, 1, 2, 3]).unwrap();
    let joined = Talk::joined(talk.reply(c::OPT_GO, c::REP_ACK, b""));
    assert_eq!(joined.negotiated.style, Style::Extended);
    assert_eq!(joined.negotiated.allocation_context, Some(42));
    assert!(joined.role_accepted && joined.dont_fragment);
    let device = joined.device;
    assert!(device.features.flush && device.features.fua && device.features.block_status);
    assert_eq!((device.size, device.block_size_min, device.payload_max), (1 << 30, 512, 1 << 20));
}

#[test]
fn a_server_without_extended_headers_is_asked_for_structured_replies() {
    let mut talk = Talk::new(join(true, None));
    talk.exchange(c::OPT_EXTENDED_HEADERS, c::REP_ERR_UNSUP);
    talk.exchange(c::OPT_STRUCTURED_REPLY, c::REP_ACK);
    talk.exchange(c::OPT_SET_META_CONTEXT, c::REP_ERR_UNKNOWN);
    talk.expect(c::OPT_GO);
    talk.info(1, 1).unwrap();
    let joined = Talk::joined(talk.reply(c::OPT_GO, c::REP_ACK, b""));
    assert_eq!(joined.negotiated.style, Style::Structured);
    assert!(!joined.device.features.block_status && !joined.dont_fragment);
}

#[test]
fn a_server_without_go_is_asked_by_export_name() {
    let mut talk = Talk::new(join(true, None));
    talk.up_to_go();
    talk.reply(c::OPT_GO, c::REP_ERR_UNSUP, b"").unwrap();
    assert_eq!(talk.expect(c::OPT_EXPORT_NAME), b"vol");
    talk.input.put_u64(77);
    talk.input.put_u16(1);
    talk.input.put_slice(b"next");
    let joined = Talk::joined(talk.step());
    assert_eq!(joined.device.size, 77);
    assert_eq!(talk.input[..], *b"next");
}

#[test]
fn a_server_that_insists_on_zeroes_is_waited_for() {
    for flags in [0, 1] {
        let mut talk = Talk::with(join(true, None), Manners::Plain, flags);
        talk.expect(c::OPT_EXPORT_NAME);
        talk.input.put_u64(77);
        talk.input.put_u16(1);
        talk.input.put_bytes(0, 123);
        assert_eq!(talk.step(), Ok(ClientStep::ReadMore));
        talk.input.put_u8(0);
        assert_eq!(Talk::joined(talk.step()).device.size, 77);
    }
}

#[test]
fn a_server_without_fixed_newstyle_gets_no_option_but_the_name() {
    let mut talk = Talk::with(join(true, Some(claim())), Manners::Full, 2);
    talk.expect(c::OPT_EXPORT_NAME);
    let outcome = Talk::with(fence(), Manners::Full, 0).step();
    assert_eq!(outcome, Ok(ClientStep::Finished(ClientOutcome::FenceUnsupported)));
    let outcome = Talk::with(Goal::List, Manners::Full, 0).step();
    assert!(matches!(outcome, Err(ClientError::Refused { .. })));
}

#[test]
fn a_role_that_is_unknown_is_gone_on_without_and_one_that_is_refused_is_not() {
    let mut talk = Talk::new(join(false, Some(claim())));
    talk.exchange(c::OPT_EXTENDED_HEADERS, c::REP_ACK);
    talk.exchange(c::OPT_BLOCKFERRY_ROLE, c::REP_ERR_UNSUP);
    talk.expect(c::OPT_GO);
    let mut talk = Talk::new(join(false, Some(claim())));
    talk.exchange(c::OPT_EXTENDED_HEADERS, c::REP_ACK);
    talk.expect(c::OPT_BLOCKFERRY_ROLE);
    let outcome = talk.reply(c::OPT_BLOCKFERRY_ROLE, c::REP_ERR_POLICY, b"not you");
    let message = "not you".to_owned();
    let option = OptionCode(c::OPT_BLOCKFERRY_ROLE);
    let code = ReplyCode(c::REP_ERR_POLICY);
    assert_eq!(outcome, Err(ClientError::Refused { option, code, message }));
    talk.expect(c::OPT_ABORT);
}

#[test]
fn a_server_that_shuts_down_or_wants_tls_is_left_at_once_and_politely() {
    for code in [c::REP_ERR_SHUTDOWN, c::REP_ERR_TLS_REQD] {
        let mut talk = Talk::new(join(true, None));
        talk.expect(c::OPT_EXTENDED_HEADERS);
        let outcome = talk.reply(c::OPT_EXTENDED_HEADERS, code, b"");
        assert!(matches!(outcome, Err(ClientError::Refused { .. })));
        talk.expect(c::OPT_ABORT);
    }
}

#[test]
fn a_refused_export_is_told_with_the_servers_text_made_harmless() {
    let mut talk = Talk::new(join(false, None));
    talk.up_to_go();
    let outcome = talk.reply(c::OPT_GO, c::REP_ERR_UNKNOWN, b"no \x1b[1mvol\xff");
    let Err(ClientError::Refused { message, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(message, "no \u{fffd}[1mvol\u{fffd}");
}

#[test]
fn go_unsupported_after_extended_headers_is_a_refusal() {
    let mut talk = Talk::new(join(false, None));
    talk.exchange(c::OPT_EXTENDED_HEADERS, c::REP_ACK);
    talk.expect(c::OPT_GO);
    let outcome = talk.reply(c::OPT_GO, c::REP_ERR_UNSUP, b"");
    assert!(matches!(outcome, Err(ClientError::Refused { .. })));
}

#[test]
fn a_list_ends_with_its_acknowledgement() {
    let mut talk = Talk::new(Goal::List);
    talk.expect(c::OPT_LIST);
    talk.reply(c::OPT_LIST, c::REP_SERVER, b"\0\0\0\x01adescription").unwrap();
    talk.reply(c::OPT_LIST, c::REP_SERVER, b"\0\0\0\0").unwrap();
    let outcome = talk.reply(c::OPT_LIST, c::REP_ACK, b"");
    let entry = |name: &str, description: &str| ExportEntry {
        name: name.to_owned(),
        description: description.to_owned(),
    };
    let entries = vec![entry("a", "description"), entry("", "")];
    assert_eq!(outcome, Ok(ClientStep::Finished(ClientOutcome::Listed(entries))));
    talk.expect(c::OPT_ABORT);
}

#[test]
fn a_fence_is_confirmed_unknown_or_refused() {
    for (code, expected) in [
        (c::REP_ACK, Some(ClientOutcome::Fenced)),
        (c::REP_ERR_UNSUP, Some(ClientOutcome::FenceUnsupported)),
        (c::REP_ERR_POLICY, None),
    ] {
        let mut talk = Talk::new(fence());
        talk.expect(c::OPT_BLOCKFERRY_FENCE);
        let outcome = talk.reply(c::OPT_BLOCKFERRY_FENCE, code, b"");
        assert_eq!(outcome.ok(), expected.map(ClientStep::Finished));
        talk.expect(c::OPT_ABORT);
    }
}

#[test]
fn what_is_no_nbd_server_is_refused_as_soon_as_that_is_clear() {
    let config = || ClientConfig { goal: Goal::List, manners: Manners::Full };
    for (greeting, oldstyle) in [
        (&b"SSH-2.0-"[..], false),
        (b"NBDMAGIC\0\0\0\0\0\0\0\0", false),
        (b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53", true),
    ] {
        let mut input = BytesMut::from(greeting);
        let error = ClientHandshake::new(config()).step(&mut input).unwrap_err();
        assert_eq!(error == ClientError::Oldstyle, oldstyle, "{error:?}");
        assert_eq!(matches!(error, ClientError::NotNbd(_)), !oldstyle, "{error:?}");
    }
}

#[test]
fn a_size_that_cannot_be_is_refused() {
    for (size, good) in [(i64::MAX as u64, true), (1 << 63, false), (u64::MAX, false)] {
        let mut talk = Talk::new(join(false, None));
        talk.up_to_go();
        talk.info(size, 1).unwrap();
        assert_eq!(talk.reply(c::OPT_GO, c::REP_ACK, b"").is_ok(), good, "{size}");
    }
}

#[test]
fn block_sizes_that_cannot_be_are_refused_and_bad_advice_is_replaced() {
    for (sizes, expected) in [
        ([1, 4096, u32::MAX], Some((1, 4096, PAYLOAD_MAX))),
        ([512, 0, 1 << 20], Some((512, 4096, 1 << 20))),
        ([8192, 4096, 1 << 20], Some((8192, 8192, 1 << 20))),
        ([4096, 4096, 10_000], Some((4096, 4096, 8192))),
        ([0, 4096, 1 << 20], None),
        ([3, 4096, 1 << 20], None),
        ([1 << 17, 1 << 17, 1 << 20], None),
        ([1, 1, 0], None),
        ([4096, 4096, 4095], None),
    ] {
        let mut talk = Talk::new(join(false, None));
        talk.up_to_go();
        talk.info(1 << 20, 1).unwrap();
        talk.sizes(sizes).unwrap();
        let outcome = talk.reply(c::OPT_GO, c::REP_ACK, b"");
        let Some(expected) = expected else {
            assert!(matches!(outcome, Err(ClientError::BlockSizes { .. })), "{sizes:?}");
            continue;
        };
        let device = Talk::joined(outcome).device;
        let told = (device.block_size_min, device.block_size_preferred, device.payload_max);
        assert_eq!(told, expected, "{sizes:?}");
    }
}

#[test]
fn success_without_a_size_is_refused() {
    let mut talk = Talk::new(join(false, None));
    talk.up_to_go();
    let outcome = talk.reply(c::OPT_GO, c::REP_ACK, b"");
    assert!(matches!(outcome, Err(ClientError::Broken(_))));
}

#[test]
fn replies_that_do_not_end_are_cut() {
    let mut talk = Talk::new(join(false, None));
    talk.up_to_go();
    for _ in 0..OPTION_REPLIES_MAX {
        talk.reply(c::OPT_GO, c::REP_INFO, &[0x77, 0x77]).unwrap();
    }
    let outcome = talk.reply(c::OPT_GO, c::REP_INFO, &[0x77, 0x77]);
    assert!(matches!(outcome, Err(ClientError::Broken(_))));
    let mut talk = Talk::new(Goal::List);
    talk.expect(c::OPT_LIST);
    for _ in 0..LIST_ENTRIES_MAX {
        talk.reply(c::OPT_LIST, c::REP_SERVER, b"\0\0\0\0").unwrap();
    }
    let outcome = talk.reply(c::OPT_LIST, c::REP_SERVER, b"\0\0\0\0");
    assert!(matches!(outcome, Err(ClientError::Broken(_))));
}

#[test]
fn a_reply_longer_than_its_limit_is_refused_before_it_comes() {
    let mut talk = Talk::new(Goal::List);
    talk.input.put_u64(c::OPTION_REPLY_MAGIC);
    talk.input.put_u32(c::OPT_LIST);
    talk.input.put_u32(c::REP_SERVER);
    talk.input.put_u32(OPTION_REPLY_BYTES_MAX + 1);
    assert!(matches!(talk.step(), Err(ClientError::Broken(_))));
}

#[test]
fn replies_to_something_else_are_refused() {
    for (option, code, data) in [
        (c::OPT_GO, c::REP_ACK, &b""[..]),
        (c::OPT_LIST, c::REP_INFO, b"\0\0"),
        (c::OPT_LIST, 77, b""),
        (c::OPT_LIST, c::REP_SERVER, b"\0\0\0\x09abc"),
        (c::OPT_LIST, c::REP_SERVER, b"\0\0\0\x01\xff"),
        (c::OPT_LIST, c::REP_SERVER, b"\0"),
    ] {
        let mut talk = Talk::new(Goal::List);
        let outcome = talk.reply(option, code, data);
        assert!(matches!(outcome, Err(ClientError::Broken(_))), "{option} {code} {data:?}");
    }
    let mut talk = Talk::new(Goal::List);
    talk.input.put_bytes(0, 20);
    assert!(matches!(talk.step(), Err(ClientError::Broken(_))));
}

#[test]
fn contexts_that_were_not_asked_for_are_refused() {
    for contexts in [&[&b"\0\0\0\x01x-other:y"[..]][..], &[&b"\0\0\0\x01base:allocation"[..]; 2]] {
        let mut talk = Talk::new(join(true, None));
        talk.exchange(c::OPT_EXTENDED_HEADERS, c::REP_ACK);
        let outcome = contexts.iter().try_for_each(|context| {
            talk.reply(c::OPT_SET_META_CONTEXT, c::REP_META_CONTEXT, context).map(|_| ())
        });
        assert!(matches!(outcome, Err(ClientError::Broken(_))));
    }
}
