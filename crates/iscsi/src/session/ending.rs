//! Ends: drains, logouts, notices and lost connections (RFC 7143 sections 11.9, 11.14 and 11.15).

use super::management::Managements;
use super::task::State;
use super::{Event, Notice, Phase, Reconnect, Session, TaskId};
use crate::header::Header;
use crate::lun::Lun;
use crate::numbers::Itt;
use crate::outbox::Outbox;
use crate::pdu::{
    AsyncEvent, AsyncMessage, LogoutReason, LogoutRequest, LogoutResponse, LogoutResult,
    RejectReason,
};

impl Session {
    /// Keeps back all commands from now on; those that the caller has go on. Pings and logouts are
    /// answered as ever. A volume that moves is drained, and its initiators are asked to log out: what
    /// was kept back they send again elsewhere.
    pub fn drain(&mut self) {
        if self.phase == Phase::Serving {
            self.phase = Phase::Draining;
        }
    }

    /// Takes a drain back: what was kept back comes now, in its order.
    pub fn resume(&mut self) {
        if self.phase == Phase::Draining {
            self.phase = Phase::Serving;
            self.present_parked();
        }
    }

    /// Whether the caller has no command that it has not answered, and no answer waits for data.
    pub fn is_idle(&self) -> bool {
        self.tasks.iter().all(|(_, task)| matches!(task.state, State::Held))
    }

    /// Whether nothing will be taken or sent any more beyond what the output holds.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Tells the initiator something unasked.
    pub fn notify(&mut self, notice: Notice) {
        let drop = |at: Reconnect, cid| [cid, at.time2wait, at.time2retain];
        let (event, parameters) = match notice {
            Notice::LogoutRequest { within } => (AsyncEvent::LOGOUT_REQUEST, [0, 0, within]),
            Notice::ConnectionDrop(at) => (AsyncEvent::CONNECTION_DROP, drop(at, self.cid.0)),
            Notice::SessionDrop(at) => (AsyncEvent::SESSION_DROP, drop(at, 0)),
        };
        let sequence = self.window.status();
        let message = AsyncMessage { lun: Lun(0), sequence, event, vendor_code: 0, parameters };
        self.output.put_pdu(message.encode(), &[], &[]);
    }

    /// The connection is lost, or another session takes this one's place. Nothing will be sent. Commands
    /// that the caller has are [`Event::Aborted`]; they still have to be answered.
    pub fn abandon(&mut self) {
        self.close();
        self.abort_matching(|_| true);
        self.output = Outbox::new();
    }

    pub(super) fn logout_request(&mut self, header: &Header) {
        let request = LogoutRequest::decode(header);
        match request.reason {
            LogoutReason::CLOSE_SESSION => self.log_out(request.itt),
            LogoutReason::CLOSE_CONNECTION if request.cid == self.cid => self.log_out(request.itt),
            LogoutReason::CLOSE_CONNECTION => {
                self.respond_to_logout(request.itt, LogoutResult::NO_SUCH_CONNECTION);
            }
            LogoutReason::REMOVE_FOR_RECOVERY => {
                self.respond_to_logout(request.itt, LogoutResult::NO_RECOVERY);
            }
            _ => self.reject(RejectReason::INVALID_FIELD, header),
        }
    }

    /// Answers a logout when no command is under way any more: what the initiator does elsewhere then
    /// comes after everything that it has done here.
    pub(super) fn settle_logout(&mut self) {
        if let Phase::LoggingOut(itt) = self.phase
            && self.tasks.is_empty()
        {
            self.close();
            self.respond_to_logout(itt, LogoutResult::CLOSED);
            self.events.push_back(Event::LoggedOut);
        }
    }

    /// Nothing will be answered any more.
    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.managements = Managements::default();
        self.exchange = None;
    }

    fn log_out(&mut self, itt: Itt) {
        if let Phase::LoggingOut(_) = self.phase {
            return;
        }
        self.phase = Phase::LoggingOut(itt);
        // Their data will not come, and what the caller does not have nobody wants any more.
        self.abort_matching(|state| match state {
            State::Held | State::Answered(_) | State::Broken { released: true, .. } => true,
            State::Running | State::Broken { .. } | State::Aborted => false,
        });
        self.abort_waiting();
        self.settle_logout();
    }

    /// Whether data that is under way is no longer waited for.
    pub(super) const fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::LoggingOut(_) | Phase::Closed)
    }

    fn abort_matching(&mut self, matches: impl Fn(&State) -> bool) {
        let ids: Vec<TaskId> =
            self.tasks.iter().filter(|(_, task)| matches(&task.state)).map(|(id, _)| id).collect();
        for id in ids {
            self.abort(id);
        }
    }

    /// Aborts the commands that wait for data.
    fn abort_waiting(&mut self) {
        let waits = self.tasks.iter().filter(|(_, task)| task.inflow.is_wanted());
        let ids: Vec<TaskId> = waits.map(|(id, _)| id).collect();
        for id in ids {
            self.abort(id);
        }
    }

    fn respond_to_logout(&mut self, itt: Itt, result: LogoutResult) {
        let response = LogoutResponse {
            result,
            itt,
            sequence: self.window.status(),
            time2wait: self.parameters.time2wait,
            time2retain: self.parameters.time2retain,
        };
        self.output.put_pdu(response.encode(), &[], &[]);
    }
}
