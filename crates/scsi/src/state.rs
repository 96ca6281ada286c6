//! What of a unit travels with its volume: reservations and mode parameters, as bytes that a
//! journal keeps and another server reads.

use blockferry_wire::{Fields, TooShort};
use bytes::BufMut;

use crate::limits::{REGISTRATIONS_MAX, STATE_BYTES_MAX, TRANSPORT_ID_BYTES_MAX};
use crate::mode::{Modes, Settings};
use crate::port::{BadPort, InitiatorPort};
use crate::reservations::{Key, Registration, Reservation, ReservationType, Reservations};

/// The layout that this code writes.
const VERSION: u16 = 1;
/// Reservations outlive a loss of power.
const FLAG_PERSISTENT: u8 = 1 << 0;
/// No single port holds the reservation.
const NO_HOLDER: u16 = u16::MAX;

const WRITE_CACHE: u8 = 1 << 0;
const DESCRIPTOR_SENSE: u8 = 1 << 1;
const WRITE_PROTECT: u8 = 1 << 2;

/// Everything that a unit remembers beyond its sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnitState {
    /// Mode parameters, those in force and the saved ones.
    pub modes: Modes,
    /// Registrations and reservation.
    pub reservations: Reservations,
}

/// Why bytes are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    /// More than the largest state has.
    #[error("a unit's state has at most {STATE_BYTES_MAX} bytes, these are {0}")]
    TooLong(usize),
    /// The bytes end inside a field.
    #[error("the state ends early")]
    TooShort,
    /// There are bytes after the last field.
    #[error("the state has {0} bytes after its last field")]
    Rest(usize),
    /// Another layout.
    #[error(
        "version {0} of a unit's state is not known here; this program reads version {VERSION}"
    )]
    Version(u16),
    /// Bits that mean nothing.
    #[error("flags {0:#04x} are not known here")]
    Flags(u8),
    /// A reservation of no known type.
    #[error("reservation type {0} is not known here")]
    Type(u8),
    /// The holder is not registered, or there is one where there can be none.
    #[error("the reservation has no possible holder")]
    Holder,
    /// More than a unit takes.
    #[error("a unit has at most {REGISTRATIONS_MAX} registrations, these are {0}")]
    Registrations(usize),
    /// A key of zero.
    #[error("a port is registered with key 0")]
    Key,
    /// A port that is registered twice.
    #[error("a port is registered twice")]
    Twice,
    /// A port that cannot be read.
    #[error(transparent)]
    Port(#[from] BadPort),
}

impl From<TooShort> for BadState {
    fn from(_: TooShort) -> Self {
        Self::TooShort
    }
}

impl UnitState {
    /// What a new unit has.
    pub fn new() -> Self {
        Self { modes: Modes::DEFAULT, reservations: Reservations::default() }
    }

    /// What is left after a loss of power, or another restart of the volume's only server:
    /// reservations without APTPL are gone, and mode parameters are the saved ones.
    pub fn lose_power(&mut self) {
        self.modes.reset();
        self.reservations.lose_power();
    }

    /// Writes the state, big-endian: version, flags, settings in force, saved settings, generation,
    /// type and holder of the reservation, registrations. At most [`STATE_BYTES_MAX`] bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        let Reservations { generation, persistent, registrations, reservation } =
            &self.reservations;
        out.put_u16(VERSION);
        out.put_u8(if *persistent { FLAG_PERSISTENT } else { 0 });
        out.put_u8(bits(self.modes.current));
        out.put_u8(bits(self.modes.saved));
        out.put_u32(*generation);
        out.put_u8(reservation.as_ref().map_or(0, |reservation| reservation.kind.code()));
        out.put_u16(holder_index(reservation.as_ref(), registrations));
        out.put_u16(u16::try_from(registrations.len()).unwrap_or(u16::MAX));
        for registration in registrations {
            let transport_id = registration.port.transport_id();
            out.put_u64(registration.key.0);
            out.put_u16(u16::try_from(transport_id.len()).unwrap_or(u16::MAX));
            out.put_slice(transport_id);
        }
    }

    /// Reads what [`UnitState::encode`] has written.
    ///
    /// # Errors
    /// [`BadState`] when the bytes are not exactly that; nothing is guessed.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadState> {
        if bytes.len() > STATE_BYTES_MAX {
            return Err(BadState::TooLong(bytes.len()));
        }
        let mut fields = Fields::new(bytes);
        let version = fields.u16()?;
        if version != VERSION {
            return Err(BadState::Version(version));
        }
        let flags = fields.u8()?;
        if flags & !FLAG_PERSISTENT != 0 {
            return Err(BadState::Flags(flags));
        }
        let modes = Modes { current: settings(fields.u8()?)?, saved: settings(fields.u8()?)? };
        let generation = fields.u32()?;
        let (code, holder) = (fields.u8()?, fields.u16()?);
        let registrations = registrations(&mut fields)?;
        if !fields.is_empty() {
            return Err(BadState::Rest(fields.len()));
        }
        let reservation = reservation(code, holder, &registrations)?;
        let persistent = flags & FLAG_PERSISTENT != 0;
        let reservations = Reservations { generation, persistent, registrations, reservation };
        Ok(Self { modes, reservations })
    }
}

impl Default for UnitState {
    fn default() -> Self {
        Self::new()
    }
}

fn bits(settings: Settings) -> u8 {
    let Settings { write_cache, descriptor_sense, write_protect } = settings;
    let pairs = [
        (write_cache, WRITE_CACHE),
        (descriptor_sense, DESCRIPTOR_SENSE),
        (write_protect, WRITE_PROTECT),
    ];
    pairs.into_iter().filter(|(set, _)| *set).fold(0, |bits, (_, bit)| bits | bit)
}

fn settings(bits: u8) -> Result<Settings, BadState> {
    if bits & !(WRITE_CACHE | DESCRIPTOR_SENSE | WRITE_PROTECT) != 0 {
        return Err(BadState::Flags(bits));
    }
    Ok(Settings {
        write_cache: bits & WRITE_CACHE != 0,
        descriptor_sense: bits & DESCRIPTOR_SENSE != 0,
        write_protect: bits & WRITE_PROTECT != 0,
    })
}

fn holder_index(reservation: Option<&Reservation>, registrations: &[Registration]) -> u16 {
    let holder = reservation.and_then(|reservation| reservation.holder.as_ref());
    let index = holder.and_then(|holder| registrations.iter().position(|one| one.port == *holder));
    index.and_then(|index| u16::try_from(index).ok()).unwrap_or(NO_HOLDER)
}

fn registrations(fields: &mut Fields<'_>) -> Result<Vec<Registration>, BadState> {
    let count = usize::from(fields.u16()?);
    if count > REGISTRATIONS_MAX {
        return Err(BadState::Registrations(count));
    }
    let mut registrations: Vec<Registration> = Vec::new();
    for _ in 0..count {
        let key = Key(fields.u64()?);
        let length = usize::from(fields.u16()?);
        if length > TRANSPORT_ID_BYTES_MAX {
            return Err(BadPort::TransportId.into());
        }
        let port = InitiatorPort::from_transport_id(fields.bytes(length)?)?;
        if key == Key(0) {
            return Err(BadState::Key);
        }
        if registrations.iter().any(|other| other.port == port) {
            return Err(BadState::Twice);
        }
        registrations.push(Registration { port, key });
    }
    Ok(registrations)
}

fn reservation(
    code: u8,
    holder: u16,
    registrations: &[Registration],
) -> Result<Option<Reservation>, BadState> {
    if code == 0 {
        return if holder == NO_HOLDER { Ok(None) } else { Err(BadState::Holder) };
    }
    let kind = ReservationType::from_code(code).ok_or(BadState::Type(code))?;
    if kind.is_for_all_registrants() {
        let possible = holder == NO_HOLDER && !registrations.is_empty();
        return possible
            .then_some(Some(Reservation { kind, holder: None }))
            .ok_or(BadState::Holder);
    }
    let holder = registrations.get(usize::from(holder)).ok_or(BadState::Holder)?;
    Ok(Some(Reservation { kind, holder: Some(holder.port.clone()) }))
}

#[cfg(test)]
mod tests;
