//! Responses: how a command ended, and what goes back with it.

use bytes::Bytes;

use crate::sense::{Sense, SenseData, SenseFormat};
use crate::status::Status;

/// How many bytes a command transfers by its own description, whatever the initiator announced. The
/// transport tells the difference as a residual count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Transfer {
    /// From the initiator, in bytes.
    pub data_out: u64,
    /// To the initiator, in bytes.
    pub data_in: u64,
}

/// The end of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// How it ended.
    pub status: Status,
    /// Why, if with CHECK CONDITION.
    pub sense: Option<SenseData>,
    /// What the unit answers. The content of a read is not in here: whoever has read it sends it.
    pub data_in: Bytes,
    /// What the command describes.
    pub transfer: Transfer,
}

/// Why a command is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Somebody else has reserved the unit.
    Conflict,
    /// The nexus is not there any more.
    Gone,
    /// Something is wrong.
    Check(Sense),
    /// The data does not fit a command that would transfer so much.
    Unfit(Sense, Transfer),
}

impl Transfer {
    /// Only from the initiator.
    pub(crate) const fn out(data_out: u64) -> Self {
        Self { data_out, data_in: 0 }
    }

    /// Only to the initiator.
    pub(crate) const fn back(data_in: u64) -> Self {
        Self { data_out: 0, data_in }
    }
}

impl Response {
    /// Done, with nothing to tell.
    pub(crate) const fn good(transfer: Transfer) -> Self {
        Self::with_status(Status::Good, transfer)
    }

    /// Done, with an answer.
    pub(crate) fn data(data_in: Bytes) -> Self {
        let transfer = Transfer::back(data_in.len() as u64);
        Self { data_in, ..Self::good(transfer) }
    }

    /// Not done, for a reason that a status says.
    pub(crate) const fn with_status(status: Status, transfer: Transfer) -> Self {
        Self { status, sense: None, data_in: Bytes::new(), transfer }
    }

    /// Not done, for a reason that sense data says.
    pub(crate) fn check(sense: &Sense, format: SenseFormat, transfer: Transfer) -> Self {
        let sense = Some(sense.encode(format));
        Self { sense, ..Self::with_status(Status::CheckCondition, transfer) }
    }

    pub(crate) fn refused(refusal: &Refusal, format: SenseFormat) -> Self {
        let nothing = Transfer::default();
        match refusal {
            Refusal::Conflict => Self::with_status(Status::ReservationConflict, nothing),
            Refusal::Gone => Self::with_status(Status::TaskAborted, nothing),
            Refusal::Check(sense) => Self::check(sense, format, nothing),
            Refusal::Unfit(sense, transfer) => Self::check(sense, format, *transfer),
        }
    }
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Check(sense)
    }
}
