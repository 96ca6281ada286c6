//! All routes of the switch.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use blockferry_control::ControlAddress;
use blockferry_iscsi::IscsiName;
use blockferry_iscsi_session::is_target_of;
use blockferry_journal::JournalError;

use crate::ledger::Ledger;
use crate::owner::OwnerQuery;
use crate::placement::RouteRecord;
use crate::route::Route;

/// Most routes of one switch: each costs little, but a mistaken script must end somewhere.
const ROUTES_MAX: usize = 4096;

/// See the module.
pub(crate) struct Routes {
    routes: RwLock<BTreeMap<String, Arc<Route>>>,
    adding: tokio::sync::Mutex<()>,
    /// This switch, as others reach it.
    control: ControlAddress,
    ledger: Ledger,
    query: OwnerQuery,
}

/// Why a route was not added.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddError {
    /// There is another of that name.
    #[error("there is a route {0:?} already, which leads to {1}")]
    Exists(String, String),
    /// There are too many.
    #[error("a switch has at most {ROUTES_MAX} routes")]
    TooMany,
    /// It would not survive a restart.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Routes {
    /// The routes of these records.
    pub(crate) fn new(
        records: Vec<RouteRecord>,
        control: ControlAddress,
        ledger: Ledger,
        query: OwnerQuery,
    ) -> Self {
        let routes = Self {
            routes: RwLock::default(),
            adding: tokio::sync::Mutex::default(),
            control,
            ledger,
            query,
        };
        for record in records {
            routes.insert(record);
        }
        routes
    }

    /// The route of a name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Route>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The route that a client means: the only one, where it gives no name.
    pub(crate) fn find_for_client(&self, name: &str) -> Option<Arc<Route>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        match (name, routes.len()) {
            ("", 1) => routes.values().next().cloned(),
            _ => routes.get(name).cloned(),
        }
    }

    /// The route whose volume is this target.
    pub(crate) fn find_target(&self, target: &IscsiName) -> Option<Arc<Route>> {
        self.all().into_iter().find(|route| is_target_of(target, route.name()))
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Route>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Adds a route, durably. One that is there already and leads to the same place is left alone.
    ///
    /// # Errors
    /// See [`AddError`].
    pub(crate) async fn add(&self, record: RouteRecord) -> Result<Arc<Route>, AddError> {
        let adding = self.adding.lock().await;
        if let Some(present) = self.find(&record.name) {
            let there = present.placement().upstream;
            if there != record.placement.upstream {
                return Err(AddError::Exists(record.name, there.to_string()));
            }
            return Ok(present);
        }
        if self.all().len() >= ROUTES_MAX {
            return Err(AddError::TooMany);
        }
        self.ledger.write(record.clone()).await?;
        let route = self.insert(record);
        drop(adding);
        Ok(route)
    }

    fn insert(&self, record: RouteRecord) -> Arc<Route> {
        let name = record.name.clone();
        let arrangement = format!("{} {name}", self.control);
        let (ledger, query) = (self.ledger.clone(), self.query.clone());
        let route = Arc::new(Route::new(record, arrangement, ledger, query));
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.insert(name, Arc::clone(&route));
        route
    }
}
