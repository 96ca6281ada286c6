//! PERSISTENT RESERVE IN: tells registrations and the reservation (SPC-4 6.15).

use super::{Key, Registration, ReservationType, Reservations, ReserveReport};

/// The one relative target port: a registration is for all ports anyway.
const RELATIVE_PORT: u16 = 1;
/// Registrations may be for all target ports, and outlive a loss of power.
const ATP_C_AND_PTPL_C: u8 = 0x04 | 0x01;
/// The mask of types is valid.
const TMV: u8 = 0x80;
/// Reservations outlive a loss of power.
const PTPL_A: u8 = 0x01;
/// The port holds the reservation, in a full status descriptor.
const R_HOLDER: u8 = 0x01;
/// The registration is for all target ports, in a full status descriptor.
const ALL_TG_PT: u8 = 0x02;

impl Reservations {
    /// The answer, not yet cut to the room there is.
    pub(crate) fn report(&self, report: ReserveReport) -> Vec<u8> {
        match report {
            ReserveReport::Keys => {
                let keys = self.registrations.iter().map(|registration| registration.key);
                self.with_header(keys.flat_map(|key| key.0.to_be_bytes()).collect())
            }
            ReserveReport::Reservation => self.with_header(self.reservation_descriptor()),
            ReserveReport::Capabilities => self.capabilities(),
            ReserveReport::FullStatus => {
                let registrations = self.registrations.iter();
                self.with_header(
                    registrations.flat_map(|one| self.status_descriptor(one)).collect(),
                )
            }
        }
    }

    /// Generation and length stand before a list.
    fn with_header(&self, list: Vec<u8>) -> Vec<u8> {
        let length = u32::try_from(list.len()).unwrap_or(u32::MAX);
        let mut answer = self.generation.to_be_bytes().to_vec();
        answer.extend(length.to_be_bytes());
        answer.extend(list);
        answer
    }

    /// The reservation with its holder's key; zero where all registrants hold it (SPC-4 6.15.3.2).
    fn reservation_descriptor(&self) -> Vec<u8> {
        let Some(reservation) = &self.reservation else { return Vec::new() };
        let holder = reservation.holder.as_ref().and_then(|holder| self.key_of(holder));
        let mut descriptor = holder.unwrap_or(Key(0)).0.to_be_bytes().to_vec();
        descriptor.extend([0; 5]);
        descriptor.push(reservation.kind.code());
        descriptor.extend([0; 2]);
        descriptor
    }

    /// SPC-4 6.15.4: RESERVE and RELEASE are those of SPC-2 (CRH is zero).
    fn capabilities(&self) -> Vec<u8> {
        let mut types = [0; 2];
        for kind in ReservationType::ALL {
            let code = kind.code();
            types[usize::from(code / 8)] |= 1 << (code % 8);
        }
        let activated = if self.persistent { PTPL_A } else { 0 };
        vec![0, 8, ATP_C_AND_PTPL_C, TMV | activated, types[0], types[1], 0, 0]
    }

    /// SPC-4 6.15.5.
    fn status_descriptor(&self, registration: &Registration) -> Vec<u8> {
        let held = self.held().filter(|_| self.is_holder(&registration.port));
        let transport_id = registration.port.transport_id();
        let length = u32::try_from(transport_id.len()).unwrap_or(u32::MAX);
        let mut descriptor = registration.key.0.to_be_bytes().to_vec();
        descriptor.extend([0; 4]);
        descriptor.push(ALL_TG_PT | if held.is_some() { R_HOLDER } else { 0 });
        descriptor.push(held.map_or(0, ReservationType::code));
        descriptor.extend([0; 4]);
        descriptor.extend(RELATIVE_PORT.to_be_bytes());
        descriptor.extend(length.to_be_bytes());
        descriptor.extend(transport_id);
        descriptor
    }
}
