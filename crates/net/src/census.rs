//! How many are connected, in all and from each address, and who still may.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::Limits;
use crate::stream::Peer;

/// Who is connected, by whatever way.
#[derive(Clone, Debug, Default)]
pub struct Census(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub struct PlaceTaken {
    census: Census,
    ip: Option<IpAddr>,
}

impl Census {
    /// Gives a client its place; `None` when the limits have none.
    pub fn enter(&self, peer: Peer, limits: &Limits) -> Option<PlaceTaken> {
        let ip = match peer {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= limits.connections_max {
            return None;
        }
        if let Some(ip) = ip {
            let here = counts.by_ip.get(&ip).copied().unwrap_or_default();
            if here >= limits.connections_per_ip_max {
                return None;
            }
            counts.by_ip.insert(ip, here + 1);
        }
        counts.total += 1;
        Some(PlaceTaken { census: self.clone(), ip })
    }
}

impl Drop for PlaceTaken {
    fn drop(&mut self) {
        let mut counts = self.census.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        let Some(ip) = self.ip else { return };
        if let Some(here) = counts.by_ip.get_mut(&ip) {
            *here -= 1;
            if *here == 0 {
                counts.by_ip.remove(&ip);
            }
        }
    }
}
