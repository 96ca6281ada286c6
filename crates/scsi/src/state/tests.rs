//! States there and back, and bytes that are none.

use proptest::prelude::*;

use super::*;

fn port(number: u8) -> InitiatorPort {
    InitiatorPort::iscsi("iqn.a", [0, 0, 0, 0, 0, number]).unwrap()
}

fn state(count: u8, kind: Option<ReservationType>) -> UnitState {
    let registrations: Vec<_> = (1..=count)
        .map(|number| Registration { port: port(number), key: Key(u64::from(number) << 40) })
        .collect();
    let reservation = kind.map(|kind| Reservation::by(&port(count), kind));
    UnitState {
        modes: Modes {
            current: Settings { write_cache: false, descriptor_sense: true, write_protect: true },
            saved: Settings::DEFAULT,
        },
        reservations: Reservations { generation: 7, persistent: true, registrations, reservation },
    }
}

fn encoded(state: &UnitState) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    bytes
}

#[test]
fn a_state_has_the_layout_that_other_programs_rely_on() {
    let mut expected = vec![0, 1, 1, 0x06, 0x01, 0, 0, 0, 7, 5, 0, 1, 0, 2];
    for number in 1..=2_u8 {
        expected.extend((u64::from(number) << 40).to_be_bytes());
        expected.extend([0, 28]);
        expected.extend([0x45, 0, 0, 24]);
        expected.extend(format!("iqn.a,i,0x00000000000{number}").bytes());
        expected.extend([0, 0]);
    }
    let state = state(2, Some(ReservationType::WriteExclusiveRegistrantsOnly));
    assert_eq!(encoded(&state), expected);
}

#[test]
fn a_new_state_is_14_bytes_without_any_reservation() {
    let bytes = encoded(&UnitState::new());
    assert_eq!(bytes, [0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
    assert_eq!(UnitState::decode(&bytes), Ok(UnitState::new()));
}

#[test]
fn the_largest_state_has_its_place() {
    let mut largest = state(0, None);
    for number in 0..REGISTRATIONS_MAX {
        let [.., high, low] = number.to_be_bytes();
        let name = "x".repeat(crate::limits::INITIATOR_NAME_BYTES_MAX);
        let port = InitiatorPort::iscsi(&name, [0, 0, 0, 0, high, low]).unwrap();
        largest.reservations.registrations.push(Registration { port, key: Key(1) });
    }
    let bytes = encoded(&largest);
    assert!(bytes.len() <= STATE_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(UnitState::decode(&bytes), Ok(largest));
}

#[test]
fn a_state_cut_anywhere_or_too_long_is_refused() {
    let mut bytes = encoded(&state(2, Some(ReservationType::ExclusiveAccess)));
    for end in 0..bytes.len() {
        assert_eq!(UnitState::decode(&bytes[..end]), Err(BadState::TooShort), "cut at {end}");
    }
    bytes.push(0);
    assert_eq!(UnitState::decode(&bytes), Err(BadState::Rest(1)));
    let endless = vec![0; STATE_BYTES_MAX + 1];
    assert_eq!(UnitState::decode(&endless), Err(BadState::TooLong(STATE_BYTES_MAX + 1)));
}

#[test]
fn what_no_unit_can_be_in_is_refused() {
    let bytes = encoded(&state(2, Some(ReservationType::ExclusiveAccess)));
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = bytes.clone();
        changes.iter().for_each(|(index, byte)| bytes[*index] = *byte);
        UnitState::decode(&bytes)
    };
    assert_eq!(with(&[(1, 2)]), Err(BadState::Version(2)));
    assert_eq!(with(&[(2, 3)]), Err(BadState::Flags(3)));
    assert_eq!(with(&[(3, 8)]), Err(BadState::Flags(8)));
    assert_eq!(with(&[(9, 2)]), Err(BadState::Type(2)));
    assert_eq!(with(&[(11, 2)]), Err(BadState::Holder));
    assert_eq!(with(&[(9, 7)]), Err(BadState::Holder));
    assert_eq!(with(&[(9, 0)]), Err(BadState::Holder));
    assert_eq!(with(&[(12, 1), (13, 1)]), Err(BadState::Registrations(257)));
    let keyless: Vec<_> = (14..22).map(|index| (index, 0)).collect();
    assert_eq!(with(&keyless), Err(BadState::Key));
    assert_eq!(with(&[(24, 0x46)]), Err(BadState::Port(BadPort::TransportId)));
    let last_digit_of_the_second_port = bytes.len() - 3;
    assert_eq!(with(&[(last_digit_of_the_second_port, b'1')]), Err(BadState::Twice));
}

#[test]
fn all_registrants_hold_nothing_where_nobody_is_registered() {
    let mut bytes = encoded(&UnitState::new());
    bytes[9] = 7;
    assert_eq!(UnitState::decode(&bytes), Err(BadState::Holder));
}

#[test]
fn a_loss_of_power_leaves_what_was_saved_and_what_was_to_persist() {
    let mut persistent = state(2, Some(ReservationType::WriteExclusive));
    persistent.lose_power();
    assert_eq!(persistent.modes, Modes::DEFAULT);
    assert_eq!(persistent.reservations.held(), Some(ReservationType::WriteExclusive));
    let mut transient = state(2, Some(ReservationType::WriteExclusive));
    transient.reservations.persistent = false;
    transient.lose_power();
    assert_eq!(transient, UnitState::new());
}

fn any_settings() -> impl Strategy<Value = Settings> {
    any::<[bool; 3]>().prop_map(|[write_cache, descriptor_sense, write_protect]| Settings {
        write_cache,
        descriptor_sense,
        write_protect,
    })
}

prop_compose! {
    fn any_state()(
        current in any_settings(),
        saved in any_settings(),
        generation in any::<u32>(),
        persistent in any::<bool>(),
        keys in prop::collection::vec(1..u64::MAX, 0..5),
        held in prop::option::of((0..6_usize, any::<prop::sample::Index>())),
    ) -> UnitState {
        let registrations: Vec<_> = (0..)
            .zip(keys)
            .map(|(number, key)| Registration { port: port(number), key: Key(key) })
            .collect();
        let reservation = held.filter(|_| !registrations.is_empty()).map(|(kind, holder)| {
            let holder: &Registration = holder.get(&registrations);
            Reservation::by(&holder.port, ReservationType::ALL[kind])
        });
        let reservations = Reservations { generation, persistent, registrations, reservation };
        UnitState { modes: Modes { current, saved }, reservations }
    }
}

proptest! {
    #[test]
    fn a_state_reads_back_as_it_was_written(state in any_state()) {
        prop_assert_eq!(UnitState::decode(&encoded(&state)), Ok(state));
    }

    #[test]
    fn what_is_read_is_written_again_byte_by_byte(
        state in any_state(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encoded(&state);
        let index = at.index(bytes.len());
        bytes[index] = byte;
        if let Ok(read) = UnitState::decode(&bytes) {
            prop_assert_eq!(encoded(&read), bytes);
        }
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(read) = UnitState::decode(&bytes) {
            prop_assert_eq!(encoded(&read), bytes);
        }
    }
}
