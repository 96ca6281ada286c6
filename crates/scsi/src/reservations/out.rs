//! PERSISTENT RESERVE OUT: registers, reserves, releases, clears and preempts (SPC-4 5.13.7 to
//! 5.13.11).

use blockferry_wire::Fields;

use super::{Key, Registration, Reservation, Reservations, ReserveAction, ScopeAndType};
use crate::codes::SenseCode;
use crate::limits::REGISTRATIONS_MAX;
use crate::port::InitiatorPort;
use crate::response::Refusal;
use crate::sense::Sense;

/// Length of the parameter list, in bytes (SPC-4 6.16.3).
pub(crate) const PARAMETER_BYTES: u32 = 24;
/// More ports are to be registered than the sender's; refused.
const SPEC_I_PT: u8 = 0x08;
/// The registration is for all target ports, as every registration here is.
const ALL_TG_PT: u8 = 0x04;
/// Reservations shall outlive a loss of power.
const APTPL: u8 = 0x01;
/// Where those flags stand.
const FLAGS_AT: usize = 20;
/// Where the service action's key stands.
const ACTION_KEY_AT: usize = 8;

/// One PERSISTENT RESERVE OUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReserveOut {
    pub(crate) action: ReserveAction,
    pub(crate) scope_and_type: ScopeAndType,
    /// The key under which the sender claims to be registered.
    pub(crate) key: Key,
    /// The key to register, or to preempt.
    pub(crate) action_key: Key,
    pub(crate) persistent: bool,
}

/// What others have to hear, and what else has to be done before the command is answered.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Aftermath {
    /// Whether anything changed.
    pub(crate) changed: bool,
    /// Ports and what their sessions are told; never the sender's.
    pub(crate) attentions: Vec<(InitiatorPort, SenseCode)>,
    /// Ports whose commands end without an answer.
    pub(crate) aborted: Vec<InitiatorPort>,
}

impl ReserveOut {
    /// Reads the parameter list.
    ///
    /// # Errors
    /// The sense to answer with.
    pub(crate) fn parse(
        action: ReserveAction,
        scope_and_type: ScopeAndType,
        list: &[u8],
    ) -> Result<Self, Sense> {
        let mut fields = Fields::new(list);
        let key = Key(fields.u64()?);
        let action_key = Key(fields.u64()?);
        fields.u32()?;
        let flags = fields.u8()?;
        fields.bytes(3)?;
        if !fields.is_empty() {
            return Err(Sense::illegal(SenseCode::PARAMETER_LIST_LENGTH));
        }
        if flags & SPEC_I_PT != 0 || flags & !(SPEC_I_PT | ALL_TG_PT | APTPL) != 0 {
            return Err(Sense::parameter_field(FLAGS_AT));
        }
        Ok(Self { action, scope_and_type, key, action_key, persistent: flags & APTPL != 0 })
    }
}

impl Reservations {
    /// Executes a service action for a port.
    ///
    /// # Errors
    /// Why nothing was done.
    pub(crate) fn execute(
        &mut self,
        port: &InitiatorPort,
        out: &ReserveOut,
    ) -> Result<Aftermath, Refusal> {
        let is_register =
            matches!(out.action, ReserveAction::Register | ReserveAction::RegisterAndIgnore);
        if !is_register && self.key_of(port) != Some(out.key) {
            return Err(Refusal::Conflict);
        }
        match out.action {
            ReserveAction::Register | ReserveAction::RegisterAndIgnore => self.register(port, out),
            ReserveAction::Reserve => self.reserve(port, out),
            ReserveAction::Release => self.release(port, out),
            ReserveAction::Clear => Ok(self.clear(port)),
            ReserveAction::Preempt => self.preempt(port, out),
            ReserveAction::PreemptAndAbort => {
                let mut aftermath = self.preempt(port, out)?;
                let told = aftermath.attentions.iter();
                let lost = told.filter(|(_, code)| *code == SenseCode::REGISTRATIONS_PREEMPTED);
                aftermath.aborted = lost.map(|(port, _)| port.clone()).collect();
                Ok(aftermath)
            }
        }
    }

    /// Registers, registers anew or unregisters (SPC-4 5.13.7, tables of REGISTER behaviours).
    fn register(&mut self, port: &InitiatorPort, out: &ReserveOut) -> Result<Aftermath, Refusal> {
        let before = self.key_of(port);
        let claimed = if out.key == Key(0) { None } else { Some(out.key) };
        if out.action == ReserveAction::Register && claimed != before {
            return Err(Refusal::Conflict);
        }
        let mut aftermath = match (before, out.action_key) {
            (None, Key(0)) => return Ok(Aftermath::default()),
            (Some(_), Key(0)) => self.unregister(port),
            (Some(_), key) => {
                let mut registrations = self.registrations.iter_mut();
                let own = registrations.find(|registration| registration.port == *port);
                own.into_iter().for_each(|registration| registration.key = key);
                Aftermath::default()
            }
            (None, _) if self.registrations.len() >= REGISTRATIONS_MAX => {
                let code = SenseCode::INSUFFICIENT_REGISTRATION_RESOURCES;
                return Err(Sense::illegal(code).into());
            }
            (None, key) => {
                self.registrations.push(Registration { port: port.clone(), key });
                Aftermath::default()
            }
        };
        self.persistent = out.persistent;
        self.grow();
        aftermath.changed = true;
        Ok(aftermath)
    }

    /// A holder that leaves takes its reservation along; of all registrants the last (SPC-4
    /// 5.13.11.2).
    fn unregister(&mut self, port: &InitiatorPort) -> Aftermath {
        let was_holder = self.is_holder(port);
        self.registrations.retain(|registration| registration.port != *port);
        let Some(reservation) = self.reservation.take_if(|reservation| {
            was_holder && (reservation.holder.is_some() || self.registrations.is_empty())
        }) else {
            return Aftermath::default();
        };
        let attentions = if reservation.kind.admits_registrants() {
            self.tell_all_but(port, SenseCode::RESERVATIONS_RELEASED)
        } else {
            Vec::new()
        };
        Aftermath { attentions, ..Aftermath::default() }
    }

    /// To reserve again what one holds already changes nothing (SPC-4 5.13.9).
    fn reserve(&mut self, port: &InitiatorPort, out: &ReserveOut) -> Result<Aftermath, Refusal> {
        let kind = out.scope_and_type.parse()?;
        match &self.reservation {
            None => {
                self.reservation = Some(Reservation::by(port, kind));
                Ok(Aftermath { changed: true, ..Aftermath::default() })
            }
            Some(held) if held.kind == kind && self.is_holder(port) => Ok(Aftermath::default()),
            Some(_) => Err(Refusal::Conflict),
        }
    }

    /// To release what one does not hold changes nothing (SPC-4 5.13.11.2.2).
    fn release(&mut self, port: &InitiatorPort, out: &ReserveOut) -> Result<Aftermath, Refusal> {
        let Some(held) = self.held().filter(|_| self.is_holder(port)) else {
            return Ok(Aftermath::default());
        };
        if out.scope_and_type.parse() != Ok(held) {
            return Err(Sense::illegal(SenseCode::INVALID_RELEASE).into());
        }
        self.reservation = None;
        let attentions = if held.admits_registrants() {
            self.tell_all_but(port, SenseCode::RESERVATIONS_RELEASED)
        } else {
            Vec::new()
        };
        Ok(Aftermath { changed: true, attentions, ..Aftermath::default() })
    }

    /// Everything ends (SPC-4 5.13.11.2.6).
    fn clear(&mut self, port: &InitiatorPort) -> Aftermath {
        let attentions = self.tell_all_but(port, SenseCode::RESERVATIONS_PREEMPTED);
        self.registrations.clear();
        self.reservation = None;
        self.grow();
        Aftermath { changed: true, attentions, ..Aftermath::default() }
    }

    fn preempt(&mut self, port: &InitiatorPort, out: &ReserveOut) -> Result<Aftermath, Refusal> {
        if self.is_reserved_under(out.action_key) {
            self.preempt_reservation(port, out)
        } else {
            self.preempt_registrations(port, out.action_key)
        }
    }

    /// Whether preempting the key means the reservation: its holder's, or none where all
    /// registrants hold it.
    fn is_reserved_under(&self, key: Key) -> bool {
        self.reservation.as_ref().is_some_and(|reservation| match &reservation.holder {
            Some(holder) => self.key_of(holder) == Some(key),
            None => key == Key(0),
        })
    }

    /// Takes the reservation over (SPC-4 5.13.11.2.4).
    fn preempt_reservation(
        &mut self,
        port: &InitiatorPort,
        out: &ReserveOut,
    ) -> Result<Aftermath, Refusal> {
        let kind = out.scope_and_type.parse()?;
        let key = out.action_key;
        let before = self.reservation.replace(Reservation::by(port, kind));
        let is_lost = |registration: &Registration| {
            registration.port != *port && (key == Key(0) || registration.key == key)
        };
        let mut attentions = self.remove(is_lost, port);
        if before.is_some_and(|before| before.kind != kind) {
            attentions.extend(self.tell_all_but(port, SenseCode::RESERVATIONS_RELEASED));
        }
        self.grow();
        Ok(Aftermath { changed: true, attentions, ..Aftermath::default() })
    }

    /// Takes registrations away, the sender's own too if it has the key (SPC-4 5.13.11.2.5).
    fn preempt_registrations(
        &mut self,
        port: &InitiatorPort,
        key: Key,
    ) -> Result<Aftermath, Refusal> {
        if key == Key(0) {
            return Err(Sense::parameter_field(ACTION_KEY_AT).into());
        }
        if !self.registrations.iter().any(|registration| registration.key == key) {
            return Err(Refusal::Conflict);
        }
        let attentions = self.remove(|registration| registration.key == key, port);
        self.reservation.take_if(|_| self.registrations.is_empty());
        self.grow();
        Ok(Aftermath { changed: true, attentions, ..Aftermath::default() })
    }

    /// Removes registrations, and tells their ports, but not the sender's.
    fn remove(
        &mut self,
        is_lost: impl Fn(&Registration) -> bool,
        sender: &InitiatorPort,
    ) -> Vec<(InitiatorPort, SenseCode)> {
        let lost = self.registrations.extract_if(.., |registration| is_lost(registration));
        let others = lost.map(|registration| registration.port).filter(|port| port != sender);
        others.map(|port| (port, SenseCode::REGISTRATIONS_PREEMPTED)).collect()
    }

    fn tell_all_but(
        &self,
        sender: &InitiatorPort,
        code: SenseCode,
    ) -> Vec<(InitiatorPort, SenseCode)> {
        let ports = self.registrations.iter().map(|registration| &registration.port);
        ports.filter(|port| *port != sender).map(|port| (port.clone(), code)).collect()
    }

    const fn grow(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }
}
