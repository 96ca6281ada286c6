//! What a session is told to do beside its commands: by its initiator's task management functions, and by
//! other sessions of the same unit.

use std::task::{Context, Poll};

use blockferry_iscsi::pdu::{Function, FunctionResult};
use blockferry_iscsi::{Lun, ManagementId, Notice, Reconnect};

use super::running::Ended;
use super::{Engine, LEAVE_SECONDS, SessionEnd};
use crate::unit::Order;

/// Nothing of a session is kept, and nothing has to be waited for before the next.
const AT_ONCE: Reconnect = Reconnect { time2wait: 0, time2retain: 0 };

impl Engine {
    /// Carries out a task management function, of which the session has done its own part.
    pub(super) fn manage(&mut self, id: ManagementId, function: Function, lun: Lun) {
        let whole_target =
            matches!(function, Function::TARGET_WARM_RESET | Function::TARGET_COLD_RESET);
        let Some(disk) = self.disk.as_ref().filter(|_| whole_target || lun.number() == Some(0))
        else {
            return self.session.managed(id, FunctionResult::NO_SUCH_LUN);
        };
        let leave = function == Function::TARGET_COLD_RESET;
        match function {
            Function::CLEAR_TASK_SET => {
                let cleared = disk.membership.clear();
                self.settling.push(Box::pin(async move {
                    cleared.await;
                    Ended::Managed(id, FunctionResult::COMPLETE)
                }));
            }
            Function::LOGICAL_UNIT_RESET
            | Function::TARGET_WARM_RESET
            | Function::TARGET_COLD_RESET => {
                let reset = disk.membership.reset(leave);
                self.settling.push(Box::pin(async move {
                    let done = reset.await;
                    let result =
                        done.map_or(FunctionResult::REJECTED, |()| FunctionResult::COMPLETE);
                    Ended::Managed(id, result)
                }));
            }
            _ => self.session.managed(id, FunctionResult::COMPLETE),
        }
    }

    /// Takes what other sessions have ordered.
    pub(super) fn take_orders(&mut self, cx: &mut Context<'_>) {
        let Some(disk) = &self.disk else { return };
        let Poll::Ready(orders) = disk.membership.mailbox().poll(cx) else { return };
        for order in orders {
            self.take_order(order);
        }
        self.take_events();
    }

    fn take_order(&mut self, order: Order) {
        match order {
            Order::Abort(done) => {
                self.session.abort_all(None);
                self.aborting.push(done);
            }
            Order::Reset(done) => {
                self.session.abort_all(None);
                self.ending.get_or_insert(SessionEnd::Reset);
                self.aborting.push(done);
            }
            Order::Hush(done) => {
                self.session.drain();
                self.hushing.push(done);
            }
            Order::Resume if self.is_leaving || self.ending.is_some() => {}
            Order::Resume => self.session.resume(),
            Order::Leave => {
                // Whoever knows that it need not wait logs in again at once: open-iscsi waits for 2 s otherwise.
                self.session.notify(Notice::SessionDrop(AT_ONCE));
                self.session.notify(Notice::LogoutRequest { within: LEAVE_SECONDS });
                self.is_leaving = true;
            }
        }
    }

    /// Tells those who have ordered that it is done.
    pub(super) fn obey(&mut self) {
        if self.commands.has_ended_what_was_aborted() {
            self.aborting.clear();
        }
        if !self.hushing.is_empty() && self.goes_on_nowhere() && self.session.is_idle() {
            self.hushing.clear();
        }
    }
}
