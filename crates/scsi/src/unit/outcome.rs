//! From what the medium did to the end of the command.

use super::LogicalUnit;
use crate::codes::SenseCode;
use crate::lba_status;
use crate::response::Response;
use crate::sense::{Sense, SenseKey};
use crate::status::Status;
use crate::work::{Failure, Medium, Outcome, Work};

impl LogicalUnit {
    /// Ends a command whose work is done. The content of a read goes with the response, but through
    /// other hands.
    pub fn finish(&self, medium: &Medium, outcome: &Outcome) -> Response {
        let failure = match (outcome, &medium.work) {
            (Outcome::Runs(runs), Work::LbaStatus { extent, runs_max, room }) => {
                let geometry = &self.config.geometry;
                let mut answer = lba_status::answer(geometry, *extent, runs, *runs_max);
                answer.truncate(*room);
                return Response::data(answer.into());
            }
            (Outcome::Runs(_), _) | (Outcome::Done, Work::LbaStatus { .. }) => Failure::Internal,
            (Outcome::Done, _) => return Response::good(medium.transfer),
            (Outcome::Miscompare { at }, _) => {
                let sense = Sense::new(SenseKey::Miscompare, SenseCode::MISCOMPARE).about(*at);
                return Response::check(&sense, self.sense_format(), medium.transfer);
            }
            (Outcome::Failed(failure), _) => *failure,
        };
        match self.sense_of(failure, &medium.work) {
            Some(sense) => Response::check(&sense, self.sense_format(), medium.transfer),
            None => Response::with_status(Status::Busy, medium.transfer),
        }
    }

    /// `None` where the initiator shall simply try again.
    fn sense_of(&self, failure: Failure, work: &Work) -> Option<Sense> {
        Some(match failure {
            Failure::Medium { at } => {
                let writes = work.is_write() || matches!(work, Work::Flush { .. });
                let code =
                    if writes { SenseCode::WRITE_ERROR } else { SenseCode::UNRECOVERED_READ_ERROR };
                let sense = Sense::new(SenseKey::MediumError, code);
                at.map_or(sense, |at| sense.about(self.config.geometry.block_of(at).0))
            }
            Failure::NoSpace => {
                Sense::new(SenseKey::DataProtect, SenseCode::SPACE_ALLOCATION_FAILED)
            }
            Failure::ReadOnly => Sense::new(SenseKey::DataProtect, SenseCode::WRITE_PROTECTED),
            Failure::Internal => {
                Sense::new(SenseKey::HardwareError, SenseCode::INTERNAL_TARGET_FAILURE)
            }
            Failure::Busy => return None,
        })
    }
}
