//! A login: one request, and what the target makes of it.

use std::io;

use blockferry_iscsi::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage};
use blockferry_iscsi::{Digests, Itt, Outbox, Pdu, PortalAddress, Serial, redirect};

use crate::InitiatorSpec;
use crate::wire::Wire;

/// Data of one PDU that the initiator takes, in bytes.
const SEGMENT_MAX: u32 = 32 << 10;

/// Data of a write that comes with its command, in bytes. More is asked for with R2Ts.
const FIRST_BURST: u32 = 8 << 10;

/// The number of a session's first command.
const FIRST_COMMAND: Serial = Serial(1);

/// What a target has answered.
pub(crate) enum Answered {
    In(Established),
    Moved { to: PortalAddress, permanently: bool },
    Refused,
}

/// What holds for a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Established {
    pub(crate) cmd_sn: Serial,
    pub(crate) max_cmd_sn: Serial,
    pub(crate) expected_stat_sn: Serial,
    /// Data that a command may bring along.
    pub(crate) immediate_max: usize,
    /// Data of one PDU that the target takes.
    pub(crate) segment_max: usize,
}

pub(crate) async fn log_in(wire: &mut Wire, spec: &InitiatorSpec) -> io::Result<Answered> {
    let request = LoginRequest::straight(spec.isid, Itt(0), FIRST_COMMAND);
    let mut outbox = Outbox::new();
    outbox.put_pdu(request.encode(), &[], &keys(spec));
    loop {
        if let Some(pdu) = wire.pdu()? {
            let answered = answered(&pdu)?;
            wire.decoder.set(Digests::default(), SEGMENT_MAX);
            return Ok(answered);
        }
        if !wire.exchange(&mut outbox).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn keys(spec: &InitiatorSpec) -> Vec<u8> {
    let pairs = [
        format!("InitiatorName={}", spec.name),
        format!("TargetName={}", spec.target),
        "SessionType=Normal".to_owned(),
        "HeaderDigest=None".to_owned(),
        "DataDigest=None".to_owned(),
        "ErrorRecoveryLevel=0".to_owned(),
        "MaxConnections=1".to_owned(),
        "InitialR2T=Yes".to_owned(),
        "ImmediateData=Yes".to_owned(),
        "MaxOutstandingR2T=1".to_owned(),
        "DataPDUInOrder=Yes".to_owned(),
        "DataSequenceInOrder=Yes".to_owned(),
        format!("FirstBurstLength={FIRST_BURST}"),
        format!("MaxRecvDataSegmentLength={SEGMENT_MAX}"),
    ];
    pairs.iter().flat_map(|pair| [pair.as_bytes(), b"\0"].concat()).collect()
}

fn answered(pdu: &Pdu) -> io::Result<Answered> {
    let response = LoginResponse::decode(&pdu.header);
    let text = std::str::from_utf8(&pdu.data).map_err(io::Error::other)?;
    let value = |key: &str| {
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(known, _)| *known == key).map(|(_, value)| value).next()
    };
    match response.status {
        LoginStatus::MOVED_TEMPORARILY | LoginStatus::MOVED_PERMANENTLY => {
            let to = redirect(pdu).ok_or_else(|| io::Error::other("a redirect to nowhere"))?;
            let permanently = response.status == LoginStatus::MOVED_PERMANENTLY;
            Ok(Answered::Moved { to, permanently })
        }
        LoginStatus::SUCCESS if response.transit && response.next == Stage::FullFeature => {
            let number = |key, otherwise| {
                value(key).and_then(|value| value.parse().ok()).unwrap_or(otherwise)
            };
            let segment_max = number("MaxRecvDataSegmentLength", 8 << 10);
            let first_burst = number("FirstBurstLength", FIRST_BURST as usize);
            Ok(Answered::In(Established {
                cmd_sn: FIRST_COMMAND,
                max_cmd_sn: response.sequence.max_cmd_sn,
                expected_stat_sn: response.sequence.stat_sn.next(),
                immediate_max: first_burst.min(segment_max),
                segment_max,
            }))
        }
        LoginStatus::SUCCESS => Err(io::Error::other("the login does not end at once")),
        _ => Ok(Answered::Refused),
    }
}
