//! While a migration is announced, looks whether the volume has moved: so a switch that nobody told
//! heals itself, and so does one whose owner hangs after the commit.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::prepare::prepare;
use crate::route::Route;
use crate::routes::Routes;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// Looks for ever.
pub(crate) async fn watch(routes: Arc<Routes>) {
    loop {
        sleep(PAUSE).await;
        let announced: Vec<_> =
            routes.all().into_iter().filter(|route| route.candidate().is_some()).collect();
        join_all(announced.iter().map(look)).await;
    }
}

async fn look(route: &Arc<Route>) {
    route.seek_owner().await;
    // Clients that came after the announcement get their standby links, too.
    if let Some(candidate) = route.candidate().filter(|candidate| candidate.standby) {
        let reply = prepare(route, &candidate.upstream).await;
        for problem in reply.problems {
            tracing::debug!(route = route.name(), problem, "not ready for a move");
        }
    }
}
