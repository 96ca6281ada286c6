//! Before a move: everything that can fail towards the candidate is done, and compared.

use std::sync::Arc;

use blockferry_block::Generation;
use blockferry_control::api::PrepareReply;
use blockferry_device::DeviceInfo;
use blockferry_nbd_session::NbdUri;
use blockferry_path::{
    Fabric, Link, Misfit, NbdFabric, Opening, PrepareError, UpstreamError, fits,
};
use futures_util::stream::{self, StreamExt};

use crate::exports::{GENERATION_STEP, claim, new_session};
use crate::iscsi::reach;
use crate::route::Route;

/// Connections to the candidate that are opened at one time.
const OPENING_MAX: usize = 64;
/// Problems that are told; more are of the same kind.
const PROBLEMS_MAX: usize = 8;

/// Opens a link to the candidate for every client, or one to look at where there is no client; and tries
/// its portal where there are initiators.
pub(crate) async fn prepare(route: &Arc<Route>, candidate: &NbdUri) -> PrepareReply {
    let paths = route.paths();
    let no_client = paths.is_empty();
    let outcomes: Vec<_> = stream::iter(paths)
        .map(|path| async move { path.prepare(candidate).await })
        .buffer_unordered(OPENING_MAX)
        .collect()
        .await;
    let prepared = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    let mut problems: Vec<_> =
        outcomes.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    if no_client {
        problems.extend(look_at(route, candidate).await.err().map(|error| error.to_string()));
    }
    problems.extend(initiators_cannot_follow(route, candidate).await);
    problems.sort();
    problems.dedup();
    problems.truncate(PROBLEMS_MAX);
    for problem in &mut problems {
        *problem = format!("{candidate}: {problem}");
    }
    PrepareReply { prepared, problems }
}

/// Initiators log in only when the volume has moved: by then their way has to be there.
async fn initiators_cannot_follow(route: &Arc<Route>, candidate: &NbdUri) -> Option<String> {
    if route.guests().count() == 0 {
        return None;
    }
    let candidate = route.candidate().filter(|known| known.upstream == *candidate);
    match candidate.and_then(|candidate| candidate.iscsi) {
        Some(portal) => {
            let error = reach(&portal).await.err()?;
            Some(format!("initiators could not follow: {error}"))
        }
        None => Some("initiators could not follow: it tells no portal".to_owned()),
    }
}

/// Compares the candidate with what clients were told, or would be told now.
async fn look_at(route: &Arc<Route>, candidate: &NbdUri) -> Result<(), PrepareError> {
    let found = look(route, candidate, true).await?;
    let promised = match route.info() {
        Some(info) => info,
        None => look(route, &route.placement().upstream, false).await?,
    };
    fits(&promised, &found).map_err(|misfit: Misfit| misfit.into())
}

async fn look(
    route: &Arc<Route>,
    upstream: &NbdUri,
    standby: bool,
) -> Result<DeviceInfo, UpstreamError> {
    let fabric = NbdFabric::new(claim(new_session()?, route), GENERATION_STEP, Arc::clone(route));
    let link = fabric.open(upstream, Opening { generation: Generation(1), standby }).await?;
    let info = *link.info();
    link.disconnect();
    Ok(info)
}
