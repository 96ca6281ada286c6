//! What the switch must still know after a crash: its routes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use blockferry_control::folder;
use blockferry_journal::{Journal, JournalError};

use crate::placement::{Placement, RouteRecord};
use crate::route_spec::RouteSpec;

/// The journal's name in the state folder.
const FILE: &str = "routes.journal";
/// A longer journal is compacted when it is opened, in bytes.
const COMPACT_ABOVE: u64 = 1 << 20;

/// The routes' journal.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    journal: Arc<Mutex<Journal<RouteRecord>>>,
}

impl Ledger {
    /// Opens the journal in the state folder and joins it with the routes of the settings. A volume
    /// that has moved since is where the journal says.
    ///
    /// # Errors
    /// When the journal cannot be had or trusted.
    pub(crate) fn open(state: &Path, configured: &[RouteSpec]) -> Result<(Self, Vec<RouteRecord>)> {
        folder::make_durably(state).with_context(|| format!("--state {}", state.display()))?;
        let (mut journal, records) = Journal::<RouteRecord>::open(state.join(FILE))?;
        if let Some(cut) = journal.cut() {
            tracing::warn!(?cut, "the journal's last record was torn by a crash and is cut");
        }
        let known = records.into_iter().map(|record| (record.name.clone(), record)).collect();
        let routes = join(known, configured);
        if journal.size() > COMPACT_ABOVE {
            journal.compact(&routes)?;
        }
        Ok((Self { journal: Arc::new(Mutex::new(journal)) }, routes))
    }

    /// Makes a record durable.
    ///
    /// # Errors
    /// The journal's.
    pub(crate) async fn write(&self, record: RouteRecord) -> Result<(), JournalError> {
        let journal = Arc::clone(&self.journal);
        let write = move || {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.append(&record)
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

fn join(mut known: BTreeMap<String, RouteRecord>, configured: &[RouteSpec]) -> Vec<RouteRecord> {
    let mut routes = Vec::new();
    for RouteSpec { name, upstream, iscsi } in configured {
        let name = name.as_str().to_owned();
        let fresh = RouteRecord {
            name: name.clone(),
            placement: Placement { iscsi: iscsi.clone(), ..Placement::initial(upstream.clone()) },
            candidate: None,
            configured: true,
        };
        routes.push(match known.remove(&name) {
            Some(moved) if moved.placement.generation > 0 => {
                if moved.placement.upstream != *upstream {
                    let (now, generation) = (&moved.placement.upstream, moved.placement.generation);
                    tracing::warn!(route = name, configured = %upstream, %now, generation,
                        "this route has moved since it was configured; the journal is right");
                }
                moved
            }
            Some(same) if same.placement == fresh.placement => same,
            _ => fresh,
        });
    }
    for record in known.into_values() {
        if record.configured {
            tracing::warn!(
                route = record.name,
                "this route is no longer configured and is dropped"
            );
        } else {
            routes.push(record);
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> RouteSpec {
        text.parse().unwrap()
    }

    fn moved(name: &str, to: &str, configured: bool) -> RouteRecord {
        let placement = Placement { generation: 2, ..Placement::initial(to.parse().unwrap()) };
        RouteRecord { name: name.to_owned(), placement, candidate: None, configured }
    }

    #[tokio::test]
    async fn a_volume_that_moved_is_where_it_moved_to_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let configured = [spec("vol=nbd://old/v")];
        let (ledger, routes) = Ledger::open(dir.path(), &configured).unwrap();
        assert_eq!(routes[0].placement.upstream.to_string(), "nbd://old:10809/v");
        ledger.write(moved("vol", "nbd://new/v", true)).await.unwrap();
        ledger.write(moved("added", "nbd://new/w", false)).await.unwrap();
        ledger.write(moved("gone", "nbd://new/x", true)).await.unwrap();
        drop(ledger);
        let (_, routes) = Ledger::open(dir.path(), &configured).unwrap();
        assert_eq!(
            routes,
            [moved("vol", "nbd://new/v", true), moved("added", "nbd://new/w", false)]
        );
    }

    #[tokio::test]
    async fn a_route_that_never_moved_follows_the_settings() {
        let dir = tempfile::tempdir().unwrap();
        let first = spec("vol=nbd://one/v");
        let (ledger, routes) = Ledger::open(dir.path(), &[first]).unwrap();
        ledger.write(routes[0].clone()).await.unwrap();
        drop(ledger);
        let (_, routes) = Ledger::open(dir.path(), &[spec("vol=nbd://two/v")]).unwrap();
        assert_eq!(routes[0].placement.upstream.to_string(), "nbd://two:10809/v");
    }
}
