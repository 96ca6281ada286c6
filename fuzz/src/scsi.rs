//! SCSI commands of a few initiators to one unit, and what travels with its volume.

use blockferry_block::Extent;
use blockferry_scsi::{
    BlockLength, Failure, Geometry, Identity, InitiatorPort, LogicalUnit, Medium, NexusId, Outcome,
    PhysicalBlock, Provisioning, Response, Run, Status, Step, UnitConfig, UnitState, answer_absent,
};

/// Sessions of the unit: 1 and 2 of one initiator port, 3 and 4 of others. Session 5 does not
/// exist.
const SESSIONS: [(u64, u8); 4] = [(1, 1), (2, 1), (3, 3), (4, 4)];
/// Size of the unit in bytes: some blocks, and some bytes that are none.
const SIZE: u64 = (1 << 30) + 100;
/// Head of a command in the fuzzer's bytes: session, length of the list, and the announced length.
const HEAD_BYTES: usize = 4;
/// Bytes of a command descriptor block.
const CDB_BYTES: usize = 16;
/// Commands of one run; more only cost time.
const COMMANDS_MAX: usize = 64;

/// Commands, one after the other: a head of four bytes, a command descriptor block of sixteen, and
/// a parameter list. The first byte picks the unit.
pub fn scsi_commands(data: &[u8]) {
    let Some((variant, mut rest)) = data.split_first() else { return };
    let mut unit = unit(*variant);
    for _ in 0..COMMANDS_MAX {
        let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() else { return };
        let (cdb, after) = after.split_at(CDB_BYTES.min(after.len()));
        let (list, after) = after.split_at(usize::from(head[1]).min(after.len()));
        rest = after;
        match head[0] {
            0xff => {
                unit.reset();
            }
            0xfe => reconnect(&mut unit),
            session => command(&mut unit, session, [head[2], head[3]], cdb, list),
        }
    }
}

/// The bytes of a state. What is understood must be written again as it came.
pub fn scsi_state(data: &[u8]) {
    let Ok(state) = UnitState::decode(data) else { return };
    let mut again = Vec::new();
    state.encode(&mut again);
    assert_eq!(again, data);
    let mut unit = unit(0);
    unit.restore(state.clone());
    assert_eq!(unit.state(), state);
    check_holders(&mut unit);
    let mut after = state;
    after.lose_power();
    let mut again = Vec::new();
    after.encode(&mut again);
    assert_eq!(UnitState::decode(&again), Ok(after));
}

fn unit(variant: u8) -> LogicalUnit {
    let block = if variant & 1 == 0 { BlockLength::B512 } else { BlockLength::B4096 };
    let provisioning = if variant & 2 == 0 { Provisioning::Thin } else { Provisioning::Full };
    let config = UnitConfig {
        identity: Identity { uuid: [1; 16], name: "vol".parse().expect("a name") },
        geometry: Geometry::new(SIZE, block, PhysicalBlock::B4096).expect("a disk"),
        provisioning,
        read_only: variant & 4 != 0,
        rotational: false,
    };
    let mut unit = LogicalUnit::new(config, UnitState::new());
    for (session, number) in SESSIONS {
        unit.connect(NexusId(session), port(number)).expect("a new session");
        // Its first command only hears that it is new.
        unit.begin(NexusId(session), &[0; 6], 0);
    }
    unit
}

fn port(number: u8) -> InitiatorPort {
    InitiatorPort::iscsi("iqn.2026-01.test:fuzz", [0, 0, 0, 0, 0, number]).expect("a port")
}

fn reconnect(unit: &mut LogicalUnit) {
    unit.disconnect(NexusId(1));
    unit.connect(NexusId(1), port(1)).expect("it was disconnected");
}

fn command(unit: &mut LogicalUnit, session: u8, announced: [u8; 2], cdb: &[u8], list: &[u8]) {
    let nexus = NexusId(u64::from(session % 5) + 1);
    // Whole blocks, and all other numbers.
    let announced = u64::from(u16::from_be_bytes(announced));
    let data_out = if session & 0x80 == 0 { announced } else { announced * 512 };
    check(&answer_absent(cdb));
    let before = unit.state();
    let begun = unit.begin(nexus, cdb, data_out);
    assert!(!begun.changed && unit.state() == before);
    let begun = match begun.step {
        Step::Parameters { .. } => unit.parameters(nexus, cdb, list),
        _ => begun,
    };
    assert_eq!(begun.changed, unit.state() != before);
    assert!(!begun.abort.contains(&nexus));
    match &begun.step {
        Step::Answer(response) => check(response),
        Step::Medium(medium) => execute(unit, medium),
        Step::Parameters { .. } => panic!("a list is asked for once"),
    }
    let state = unit.state();
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    assert_eq!(UnitState::decode(&bytes), Ok(state));
    check_holders(unit);
}

fn execute(unit: &LogicalUnit, medium: &Medium) {
    let geometry = unit.config().geometry;
    let block = u64::from(geometry.block_bytes());
    let whole = Extent::whole(geometry.blocks() * block);
    let extent = medium.work.extent().expect("work on something");
    assert!(!extent.is_empty() && whole.contains(extent));
    assert!(extent.start().is_multiple_of(block) && extent.len().is_multiple_of(block));
    assert!(medium.work.data_out() <= medium.transfer.data_out);
    assert!(medium.work.data_in() <= medium.transfer.data_in);
    assert!(!medium.work.is_write() || !unit.is_write_protected());
    for outcome in [
        Outcome::Done,
        Outcome::Miscompare { at: extent.len() },
        Outcome::Failed(Failure::Medium { at: Some(extent.start()) }),
        Outcome::Failed(Failure::Busy),
        Outcome::Runs(vec![
            Run { length: 700, mapped: true },
            Run { length: u64::MAX, mapped: false },
        ]),
    ] {
        check(&unit.finish(medium, &outcome));
    }
}

fn check(response: &Response) {
    assert_eq!(response.status == Status::CheckCondition, response.sense.is_some());
    if let Some(sense) = response.sense {
        assert!((8..=28).contains(&sense.as_bytes().len()));
    }
    assert!(
        response.data_in.is_empty() || response.data_in.len() as u64 == response.transfer.data_in
    );
}

/// One registered port holds the reservation, or all of them do.
fn check_holders(unit: &mut LogicalUnit) {
    // A session of its own hears of every registration, unless RESERVE keeps it from it.
    let observer = NexusId(100);
    unit.connect(observer, port(100)).expect("the observer");
    unit.begin(observer, &[0; 6], 0);
    let full_status = [0x5e, 3, 0, 0, 0, 0, 0, 0xff, 0xff, 0];
    let begun = unit.begin(observer, &full_status, 0);
    unit.disconnect(observer);
    let Step::Answer(response) = begun.step else { panic!("not answered") };
    if response.status != Status::Good {
        return;
    }
    let mut list = &response.data_in[8..];
    let (mut registered, mut holders) = (0, 0);
    while let Some((head, rest)) = list.split_first_chunk::<24>() {
        let length = u32::from_be_bytes([head[20], head[21], head[22], head[23]]);
        registered += 1;
        holders += usize::from(head[12] & 1);
        assert_ne!(head[..8], [0; 8], "registered with key 0");
        list = rest.get(length as usize..).unwrap_or_default();
    }
    match unit.reservations().held().map(|kind| kind.code()) {
        None => assert_eq!(holders, 0),
        Some(7 | 8) => assert!(registered > 0 && holders == registered),
        Some(_) => assert_eq!(holders, 1),
    }
}

/// Bytes that lead somewhere: for each target what initiators really send.
pub fn scsi_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = vec![
        ("scsi_commands", start_of_a_session()),
        ("scsi_commands", reads_and_writes(0)),
        ("scsi_commands", reads_and_writes(2)),
        ("scsi_commands", reads_and_writes(4)),
    ];
    for kind in [1, 3, 5, 6, 7, 8] {
        let mut commands = vec![0];
        for session in [0, 2, 3] {
            commands.extend(reserve_out(session, (0, 0), (0, u64::from(session) + 1)));
        }
        commands.extend(reserve_out(0, (1, kind), (1, 0)));
        commands.extend(one(2, 512, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[]));
        seeds.push(("scsi_state", state_after(&commands)));
        commands.extend(reserve_out(2, (4, kind), (3, if kind > 6 { 0 } else { 1 })));
        commands.extend(reserve_out(2, (2, kind), (3, 0)));
        commands.extend(reserve_out(3, (3, 0), (4, 0)));
        seeds.push(("scsi_commands", commands));
    }
    seeds
}

/// What an initiator asks when it finds a disk.
fn start_of_a_session() -> Vec<u8> {
    let mut commands = vec![0];
    for cdb in [
        &[0x00, 0, 0, 0, 0, 0][..],
        &[0x12, 0, 0, 0, 96, 0],
        &[0x12, 1, 0x00, 0, 255, 0],
        &[0x12, 1, 0x83, 0, 255, 0],
        &[0x12, 1, 0xb0, 0, 64, 0],
        &[0xa0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0],
        &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
        &[0x1a, 0, 0x3f, 0, 255, 0],
        &[0x5a, 0x10, 0x7f, 0xff, 0, 0, 0, 1, 0, 0],
        &[0xa3, 0x0c, 0x81, 0x28, 0, 0, 0, 0, 2, 0, 0, 0],
        &[0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 16, 0, 0],
        &[0x03, 1, 0, 0, 252, 0],
        &[0x16, 0, 0, 0, 0, 0],
        &[0x17, 0, 0, 0, 0, 0],
    ] {
        commands.extend(one(0, 0, cdb, &[]));
    }
    // The control page with D_SENSE and SWP, and the caching page without WCE, saved.
    let control = [0, 0, 0, 0, 0x0a, 10, 0x06, 0x10, 0x08, 0, 0, 0, 0xff, 0xff, 0, 0];
    commands.extend(one(0, 16, &[0x15, 0x10, 0, 0, 16, 0], &control));
    let mut caching = vec![0, 0, 0, 0, 0x08, 18];
    caching.resize(24, 0);
    commands.extend(one(1, 24, &[0x15, 0x11, 0, 0, 24, 0], &caching));
    commands
}

/// Everything that needs the medium.
fn reads_and_writes(variant: u8) -> Vec<u8> {
    let mut commands = vec![variant];
    for (opcode, flags, blocks, announced) in [
        (0x88, 0x08, 8, 0),
        (0x8a, 0x18, 8, 4096),
        (0x8b, 0x00, 8, 4096),
        (0x8e, 0x02, 8, 4096),
        (0x8f, 0x02, 8, 4096),
        (0x8f, 0x06, 8, 512),
        (0x90, 0x02, 8, 0),
        (0x91, 0x00, 0, 0),
        (0x93, 0x08, 8, 512),
        (0x93, 0x09, 8, 0),
        (0x9e, 0x12, 64, 0),
    ] {
        let cdb = [opcode, flags, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, blocks, 0, 0];
        commands.extend(one(0, announced, &cdb, &[]));
    }
    let compare = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0];
    commands.extend(one(0, 1024, &compare, &[]));
    let unmap = [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0];
    commands.extend(one(0, 24, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &unmap));
    commands
}

/// One command as [`scsi_commands`] reads it; `session` counts from 0.
fn one(session: u8, announced: u16, cdb: &[u8], list: &[u8]) -> Vec<u8> {
    let [high, low] = announced.to_be_bytes();
    let mut bytes = vec![session, list.len().try_into().expect("a short list"), high, low];
    bytes.extend(cdb);
    bytes.resize(HEAD_BYTES + CDB_BYTES, 0);
    bytes.extend(list);
    bytes
}

fn reserve_out(session: u8, (action, kind): (u8, u8), (key, action_key): (u64, u64)) -> Vec<u8> {
    let mut list = [key.to_be_bytes(), action_key.to_be_bytes()].concat();
    list.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    one(session, 24, &[0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0], &list)
}

/// The state of a unit that has executed the commands.
fn state_after(commands: &[u8]) -> Vec<u8> {
    let mut unit = unit(0);
    let mut rest = &commands[1..];
    while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let (cdb, after) = after.split_at(CDB_BYTES);
        let (list, after) = after.split_at(head[1].into());
        command(&mut unit, head[0], [head[2], head[3]], cdb, list);
        rest = after;
    }
    let mut bytes = Vec::new();
    unit.state().encode(&mut bytes);
    bytes
}
