//! Whatever initiators send, in whatever order: no panic, and a unit that still makes sense.

use proptest::prelude::*;

use super::*;
use crate::limits::PARAMETER_BYTES_MAX;
use crate::reservations::Key;
use crate::work::{Failure, Outcome};

#[derive(Clone, Debug)]
struct Sent {
    nexus: NexusId,
    cdb: Vec<u8>,
    data_out: u64,
    list: Vec<u8>,
}

/// Mostly bytes that begin with a known operation code, since all others end at once.
fn any_cdb() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<_> = crate::table::commands(Provisioning::Thin)
        .map(|entry| (entry.opcode(), entry.action, entry.usage))
        .collect();
    let likely = (prop::sample::select(known), any::<[u8; 16]>()).prop_map(|(row, bytes)| {
        let (opcode, action, usage) = row;
        let mut cdb: Vec<u8> =
            bytes.iter().zip(usage.iter().chain([0; 16].iter())).map(|(b, u)| b & u).collect();
        cdb[0] = opcode;
        cdb[1] = action.unwrap_or(cdb[1]);
        cdb
    });
    let any_bytes = prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![4 => likely, 1 => any_bytes]
}

fn sent() -> impl Strategy<Value = Sent> {
    let list = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (0..4_u64, 0..4_u64, any::<bool>()).prop_map(|(key, action_key, flag)| {
            let mut list = [key.to_be_bytes(), action_key.to_be_bytes()].concat();
            list.extend([0, 0, 0, 0, u8::from(flag), 0, 0, 0]);
            list
        }),
    ];
    (1..5_u64, any_cdb(), prop_oneof![0..4096_u64, any::<u64>()], list).prop_map(
        |(nexus, cdb, data_out, list)| Sent { nexus: NexusId(nexus), cdb, data_out, list },
    )
}

fn check(unit: &LogicalUnit, begun: &Begun) {
    let size = unit.config().geometry.whole();
    match &begun.step {
        Step::Answer(response) => {
            assert_eq!(response.status == Status::CheckCondition, response.sense.is_some());
        }
        Step::Parameters { bytes } => assert!((1..=PARAMETER_BYTES_MAX).contains(bytes)),
        Step::Medium(medium) => {
            let extent = medium.work.extent().expect("no work on nothing");
            assert!(!extent.is_empty() && size.contains(extent), "{medium:?}");
            assert!(extent.start() % 512 == 0 && extent.len() % 512 == 0);
            assert!(medium.work.data_out() <= medium.transfer.data_out, "{medium:?}");
            assert!(!(medium.work.is_write() && unit.is_write_protected()));
            for outcome in [
                Outcome::Done,
                Outcome::Miscompare { at: u64::MAX },
                Outcome::Runs(Vec::new()),
                Outcome::Failed(Failure::Medium { at: Some(u64::MAX) }),
            ] {
                unit.finish(medium, &outcome);
            }
        }
    }
    let state = unit.state();
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    assert_eq!(UnitState::decode(&bytes), Ok(state));
    assert!(unit.reservations().registrations.iter().all(|one| one.key != Key(0)));
}

proptest! {
    #[test]
    fn any_commands_leave_a_unit_that_makes_sense(all in prop::collection::vec(sent(), 1..40)) {
        let mut unit = unit();
        for Sent { nexus, cdb, data_out, list } in all {
            let before = unit.state();
            let begun = unit.begin(nexus, &cdb, data_out);
            check(&unit, &begun);
            prop_assert_eq!(begun.changed, unit.state() != before);
            let begun = unit.parameters(nexus, &cdb, &list);
            check(&unit, &begun);
            prop_assert_eq!(begun.changed, unit.state() != before);
        }
    }

    #[test]
    fn any_bytes_to_a_unit_that_is_not_there_are_answered(
        cdb in prop::collection::vec(any::<u8>(), 0..20)
    ) {
        let response = crate::answer_absent(&cdb);
        prop_assert!(matches!(response.status, Status::Good | Status::CheckCondition));
    }
}
