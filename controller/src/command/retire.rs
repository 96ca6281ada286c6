//! `retire`: says when no client path goes through the source any more.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use super::Desk;
use crate::network::Network;
use crate::show::Event;

/// Pause between two questions.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// Waits up to `wait` seconds for the last client path to leave.
pub(crate) async fn retire<N: Network>(desk: &Desk<'_, N>, wait: u64) -> anyhow::Result<()> {
    let (volume, deadline) = (&desk.parties.volume, Instant::now() + Duration::from_secs(wait));
    loop {
        let reply = desk.parties.source.retire().await;
        let reply = reply.with_context(|| format!("{volume} cannot be retired"))?;
        if reply.retired {
            blockferry_label::reached("controller.retire.answered");
            let but = sent_on(reply.sent_on).unwrap_or_default();
            let message = format!("{volume}: retired; no client path goes through the source{but}");
            desk.show.show(&Event::Note { message });
            return Ok(());
        }
        if Instant::now() >= deadline && reply.sessions == 0 {
            bail!(
                "{volume} cannot be retired yet: the source was restarted, and clients may still come \
                 back to it; try again in some seconds"
            );
        }
        if Instant::now() >= deadline {
            bail!(
                "{volume} cannot be retired yet: {} client paths end at the source; move their \
                 switches (`resume` with --switch) or disconnect them",
                reply.sessions
            );
        }
        sleep(ASK_INTERVAL).await;
    }
}

/// Some initiators ask the portal of their node record again whenever they have lost their connection.
fn sent_on(logins: u64) -> Option<String> {
    (logins > 0).then(|| {
        format!(
            ", but {logins} logins of iSCSI initiators were sent on from it: before you switch it off, have \
             their node records name the destination, and have them log in anew"
        )
    })
}
