//! Keeps an initiator logged in.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use crate::login::{Answered, Established, log_in};
use crate::route::Route;
use crate::session::{End, Session};
use crate::wire::Wire;
use crate::{Account, InitiatorSpec, Task};

/// A target that said nothing for so long is asked for a sign of life.
const IDLE: Duration = Duration::from_secs(1);

/// It gives one within this time, or the session counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// A login is answered within this time, or is tried elsewhere.
const LOGIN_MAX: Duration = Duration::from_secs(4);

/// Pause after a login that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Executes what is asked for, over as many sessions as it takes, until nobody is left who asks.
pub(crate) async fn drive(
    spec: InitiatorSpec,
    mut tasks: UnboundedReceiver<Task>,
    account: Arc<Account>,
) {
    let mut route = Route::new(&spec.portals);
    let mut unanswered = VecDeque::new();
    loop {
        let (mut wire, established) = logged_in(&spec, &mut route, &account).await;
        let mut session = Session::new(established, unanswered);
        let end = serve(&mut wire, &mut session, &mut tasks).await.unwrap_or(End::Lost);
        match end {
            End::Unwanted => return,
            End::LoggedOut => account.count(|counts| counts.logouts += 1),
            End::Fault(what) => account.accuse(what),
            End::Lost | End::Silent => {}
        }
        unanswered = session.into_unanswered();
        let repeats = unanswered.iter().filter(|task| task.repeated).count() as u64;
        account.count(|counts| counts.repeats += repeats);
        route.lost();
    }
}

async fn logged_in(
    spec: &InitiatorSpec,
    route: &mut Route,
    account: &Account,
) -> (Wire, Established) {
    loop {
        match tokio::time::timeout(LOGIN_MAX, attempt(spec, route)).await {
            Ok(Ok((wire, Answered::In(established)))) => {
                account.count(|counts| counts.logins += 1);
                return (wire, established);
            }
            Ok(Ok((_, Answered::Moved { to, permanently }))) => {
                account.count(|counts| counts.redirects += 1);
                route.moved(to, permanently);
            }
            Ok(Ok((_, Answered::Refused)) | Err(_)) | Err(_) => {
                route.failed();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn attempt(spec: &InitiatorSpec, route: &Route) -> io::Result<(Wire, Answered)> {
    let portal = route.next();
    let detour = spec.detours.get(portal).map(|path| &**path);
    let mut wire = Wire::open(portal, detour).await?;
    let answered = log_in(&mut wire, spec).await?;
    Ok((wire, answered))
}

/// Serves a session to its end.
async fn serve(
    wire: &mut Wire,
    session: &mut Session,
    tasks: &mut UnboundedReceiver<Task>,
) -> io::Result<End> {
    let mut heard = Instant::now();
    loop {
        while let Some(pdu) = wire.pdu()? {
            heard = Instant::now();
            if let Err(end) = session.handle(&pdu) {
                return Ok(end);
            }
        }
        session.pump();
        let limit = heard + if session.is_pinged { IDLE + PATIENCE } else { IDLE };
        tokio::select! {
            alive = wire.exchange(&mut session.outbox) => if !alive? {
                return Ok(End::Lost);
            },
            task = tasks.recv() => match task {
                Some(task) => session.add(task),
                None => return Ok(End::Unwanted),
            },
            () = sleep_until(limit) => {
                if session.is_pinged {
                    return Ok(End::Silent);
                }
                session.ping();
            }
        }
    }
}
