//! Conversations to begin with.

use blockferry_iscsi::pdu::{
    Attribute, DataOut, Function, LoginRequest, LogoutReason, LogoutRequest, ManagementRequest,
    NopOut, Request, ScsiCommand, Stage, TextRequest,
};
use blockferry_iscsi::{Cid, Digests, Itt, Lun, Outbox, Secret, Serial, Ttt};

use super::session::session;
use super::{request, text};

const INITIATOR: &str = "InitiatorName=iqn.2026-01.io.blockferry:initiator";
const TARGET: &str = "TargetName=iqn.2026-01.io.blockferry:vol";

/// Seeds, each with the name of its target.
pub fn iscsi_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = vec![
        ("iscsi_login", [&[0][..], &plain_login(TARGET)].concat()),
        ("iscsi_login", [&[0][..], &plain_login("SessionType=Discovery")].concat()),
        ("iscsi_login", [&[0][..], &plain_login(&TARGET.replace("vol", "moved"))].concat()),
        ("iscsi_login", [&[1][..], &login_with_chap()].concat()),
    ];
    for variant in 0..8_u8 {
        let digests = session(variant).parameters().digests;
        let bytes = conversation(digests, variant);
        seeds.push(("iscsi_session", [&[variant][..], &bytes].concat()));
        seeds.push(("iscsi_pdus", [&[variant][..], &bytes].concat()));
    }
    seeds
}

fn plain_login(target: &str) -> Vec<u8> {
    let mut outbox = Outbox::new();
    let first = [INITIATOR, target, "AuthMethod=CHAP,None"];
    let security = request(Stage::Security, Stage::Operational);
    outbox.put_pdu(security.encode(), &[], &text(&first));
    put_operational(&mut outbox);
    outbox.pieces().collect::<Vec<_>>().concat()
}

fn login_with_chap() -> Vec<u8> {
    let mut outbox = Outbox::new();
    let next = request(Stage::Security, Stage::Operational);
    let stay = LoginRequest { transit: false, ..next };
    outbox.put_pdu(next.encode(), &[], &text(&[INITIATOR, TARGET, "AuthMethod=CHAP"]));
    outbox.put_pdu(stay.encode(), &[], &text(&["CHAP_A=5"]));
    let secret = Secret::new(*b"initiator-secret").expect("a strong secret");
    let response = secret.respond(1, &[7; 32]);
    let hex = response.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let proof = format!("CHAP_R=0x{hex}");
    let pairs = ["CHAP_N=user", &proof, "CHAP_I=2", "CHAP_C=0b3q2+7w=="];
    outbox.put_pdu(next.encode(), &[], &text(&pairs));
    put_operational(&mut outbox);
    outbox.pieces().collect::<Vec<_>>().concat()
}

fn put_operational(outbox: &mut Outbox) {
    let pairs = [
        "HeaderDigest=None,CRC32C",
        "DataDigest=None",
        "InitialR2T=No",
        "ImmediateData=Yes",
        "MaxBurstLength=262144",
        "FirstBurstLength=65536",
        "MaxRecvDataSegmentLength=65536",
        "MaxConnections=1",
        "ErrorRecoveryLevel=0",
        "IFMarker=No",
        "X-com.example=1",
    ];
    let operational = request(Stage::Operational, Stage::FullFeature);
    outbox.put_pdu(operational.encode(), &[], &text(&pairs));
}

/// Commands of every kind, in an order that the variant picks.
fn conversation(digests: Digests, variant: u8) -> Vec<u8> {
    let mut outbox = Outbox::new();
    outbox.set_digests(digests);
    for cmd_sn in 1..6_u32 {
        let kind = cmd_sn as u8 + variant;
        let mut command = command(cmd_sn, [kind, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        (command.read, command.write) = (kind % 3 == 0, kind % 3 != 0);
        let carried = if command.write && variant & 2 != 0 { &[7; 200][..] } else { &[] };
        outbox.put_pdu(command.encode(), &[], carried);
        if command.write {
            let from = carried.len() as u32;
            // The tag of a first R2T of the first place; some of it is right.
            let piece = DataOut {
                last: true,
                lun: Lun(0),
                itt: command.itt,
                ttt: Ttt(0),
                expected_stat_sn: Serial(2),
                data_sn: 0,
                offset: from,
            };
            outbox.put_pdu(piece.encode(), &[], &vec![9; 1024 - from as usize]);
        }
    }
    for other in others() {
        let data: &[u8] =
            if matches!(other, Request::Text(_)) { b"SendTargets=All\0" } else { b"" };
        outbox.put_pdu(other.encode(), &[], data);
    }
    outbox.pieces().collect::<Vec<_>>().concat()
}

fn command(cmd_sn: u32, cdb: [u8; 16]) -> ScsiCommand {
    ScsiCommand {
        immediate: false,
        last: true,
        read: false,
        write: false,
        attribute: Attribute::Simple,
        lun: Lun(0),
        itt: Itt(10 + cmd_sn),
        expected_length: 1024,
        cmd_sn: Serial(cmd_sn),
        expected_stat_sn: Serial(2),
        cdb,
    }
}

fn others() -> [Request; 4] {
    let (itt, cmd_sn, expected_stat_sn) = (Itt(99), Serial(6), Serial(2));
    let (immediate, lun, ttt) = (true, Lun(0), Ttt::NONE);
    [
        Request::NopOut(NopOut { immediate, lun, itt, ttt, cmd_sn, expected_stat_sn }),
        Request::Text(TextRequest {
            immediate,
            last: true,
            continued: false,
            lun,
            itt,
            ttt,
            cmd_sn,
            expected_stat_sn,
        }),
        Request::Management(ManagementRequest {
            immediate,
            function: Function::LOGICAL_UNIT_RESET,
            lun,
            itt,
            referenced: Itt::NONE,
            cmd_sn,
            expected_stat_sn,
            referenced_cmd_sn: Serial(0),
        }),
        Request::Logout(LogoutRequest {
            immediate,
            reason: LogoutReason::CLOSE_SESSION,
            itt,
            cid: Cid(0),
            cmd_sn,
            expected_stat_sn,
        }),
    ]
}
