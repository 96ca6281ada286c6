//! Task management (RFC 7143 sections 4.2.3.3, 11.5 and 11.6).
//!
//! A function is answered when the caller has carried it out and every command that it ends has no
//! effect any more, which is when the caller has answered it.

use super::task::State;
use super::{Event, ManagementId, Session, TaskId};
use crate::header::Header;
use crate::limits::MANAGEMENTS_MAX;
use crate::lun::Lun;
use crate::numbers::{Itt, Serial};
use crate::parameters::SessionType;
use crate::pdu::{Function, FunctionResult, ManagementRequest, ManagementResponse, RejectReason};

/// The functions that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Managements {
    list: Vec<Management>,
    next: u32,
}

#[derive(Debug)]
struct Management {
    id: ManagementId,
    itt: Itt,
    /// How it went, once the caller has carried it out.
    result: Option<FunctionResult>,
    /// Commands that it ends and that the caller has.
    pending: Vec<TaskId>,
}

impl Session {
    /// Answers [`Event::Manage`]. After a cold reset the caller ends the target's sessions, this one when
    /// its output has been sent.
    pub fn managed(&mut self, id: ManagementId, result: FunctionResult) {
        let waiting = self.managements.list.iter_mut().find(|management| management.id == id);
        if let Some(management) = waiting {
            management.result = Some(result);
        }
        self.settle_managements();
    }

    /// Aborts all commands, or those to one unit, because another session reset something. They get
    /// no answer (SAM-5 5.6.3, with TAS 0).
    pub fn abort_all(&mut self, lun: Option<Lun>) {
        for id in self.matching(|_, of| lun.is_none_or(|lun| lun == of)) {
            self.abort(id);
        }
    }

    pub(super) fn management_request(&mut self, header: &Header) {
        let request = ManagementRequest::decode(header);
        if self.session_type() == SessionType::Discovery {
            return self.reject(RejectReason::PROTOCOL_ERROR, header);
        }
        if self.managements.list.len() == MANAGEMENTS_MAX {
            let reason = match request.immediate {
                true => RejectReason::TOO_MANY_IMMEDIATE,
                false => RejectReason::OUT_OF_RESOURCES,
            };
            return self.reject(reason, header);
        }
        // A command for immediate delivery has the number of the next one.
        let older = |cmd_sn: Serial| !request.cmd_sn.precedes(cmd_sn);
        match request.function {
            Function::ABORT_TASK => self.abort_task(&request),
            Function::ABORT_TASK_SET | Function::CLEAR_TASK_SET | Function::LOGICAL_UNIT_RESET => {
                let ended = self.matching(|cmd_sn, lun| lun == request.lun && older(cmd_sn));
                self.manage(&request, ended);
            }
            Function::TARGET_WARM_RESET | Function::TARGET_COLD_RESET => {
                let ended = self.matching(|cmd_sn, _| older(cmd_sn));
                self.manage(&request, ended);
            }
            Function::TASK_REASSIGN => {
                self.respond_to_management(request.itt, FunctionResult::NO_REASSIGNMENT);
            }
            _ => self.respond_to_management(request.itt, FunctionResult::NOT_SUPPORTED),
        }
    }

    /// Answers functions for which everything is done.
    pub(super) fn settle_managements(&mut self) {
        let mut index = 0;
        while let Some(management) = self.managements.list.get_mut(index) {
            management.pending.retain(|id| self.tasks.get(*id).is_some());
            let done = management.result.filter(|_| management.pending.is_empty());
            if let Some(result) = done {
                let itt = self.managements.list.remove(index).itt;
                self.respond_to_management(itt, result);
            } else {
                index += 1;
            }
        }
    }

    /// Ends one task, which takes nobody but this session.
    fn abort_task(&mut self, request: &ManagementRequest) {
        let found = self.tasks.find(request.referenced);
        let found = found.filter(|id| self.tasks.get(*id).is_some_and(|t| t.lun == request.lun));
        match found {
            Some(id) => {
                let pending = self.abort(id).into_iter().collect();
                self.wait_for(request, Some(FunctionResult::COMPLETE), pending);
            }
            None if self.can_still_come(request) => {
                self.respond_to_management(request.itt, FunctionResult::COMPLETE);
                self.void(request.referenced_cmd_sn);
            }
            None => self.respond_to_management(request.itt, FunctionResult::NO_SUCH_TASK),
        }
        self.settle_managements();
    }

    /// Whether the task may be a command older than the request that has not come (RFC 7143 section
    /// 11.6.1): it counts as aborted, and is not taken any more.
    fn can_still_come(&self, request: &ManagementRequest) -> bool {
        let referenced = request.referenced_cmd_sn;
        let is_missing = !referenced.precedes(self.window.expected())
            && !self.ahead.iter().any(|(held, _)| *held == referenced);
        is_missing
            && referenced.precedes(request.cmd_sn)
            && !self.window.sequence().max_cmd_sn.precedes(referenced)
    }

    /// Ends the commands and lets the caller carry out the function.
    fn manage(&mut self, request: &ManagementRequest, ended: Vec<TaskId>) {
        let pending = ended.into_iter().filter_map(|id| self.abort(id)).collect();
        let id = self.wait_for(request, None, pending);
        let (function, lun) = (request.function, request.lun);
        self.events.push_back(Event::Manage { id, function, lun });
    }

    fn wait_for(
        &mut self,
        request: &ManagementRequest,
        result: Option<FunctionResult>,
        pending: Vec<TaskId>,
    ) -> ManagementId {
        self.managements.next = self.managements.next.wrapping_add(1);
        let id = ManagementId(self.managements.next);
        self.managements.list.push(Management { id, itt: request.itt, result, pending });
        id
    }

    /// Ends a command. Names it again where the caller has it.
    pub(super) fn abort(&mut self, id: TaskId) -> Option<TaskId> {
        let task = self.tasks.get(id)?;
        match task.state {
            State::Held => {
                // In this order: what is ahead of its turn is not counted by the window.
                let ahead = self.is_ahead(id);
                if ahead {
                    self.tasks.remove(id);
                    self.forget_held(id);
                } else {
                    self.forget_held(id);
                    self.end(id);
                }
                None
            }
            State::Answered(_) | State::Broken { released: true, .. } => {
                self.end(id);
                None
            }
            State::Broken { released: false, .. } => {
                task.state = State::Aborted;
                Some(id)
            }
            State::Running => {
                task.state = State::Aborted;
                self.events.push_back(Event::Aborted(id));
                Some(id)
            }
            State::Aborted => Some(id),
        }
    }

    /// The commands whose number and unit match.
    fn matching(&self, matches: impl Fn(Serial, Lun) -> bool) -> Vec<TaskId> {
        let tasks = self.tasks.iter();
        tasks.filter(|(_, task)| matches(task.cmd_sn, task.lun)).map(|(id, _)| id).collect()
    }

    fn respond_to_management(&mut self, itt: Itt, result: FunctionResult) {
        let response = ManagementResponse { result, itt, sequence: self.window.status() };
        self.output.put_pdu(response.encode(), &[], &[]);
    }
}
