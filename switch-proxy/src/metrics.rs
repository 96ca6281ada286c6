//! The numbers of the switch, in Prometheus' text format, made when they are asked for.

use std::fmt::Write;

use blockferry_control::api::RouteStatus;
use blockferry_net::Limits;

use crate::route::Counts;
use crate::routes::Routes;

/// A metric of a route: name, kind, help, value.
type Metric = (&'static str, &'static str, &'static str, fn(&RouteStatus, &Counts) -> f64);

#[expect(clippy::cast_precision_loss, reason = "the format's numbers are floats")]
const METRICS: &[Metric] = &[
    ("sessions", "gauge", "Client connections.", |s, _| s.sessions as f64),
    ("unanswered_requests", "gauge", "Requests that clients wait for.", |s, _| s.unanswered as f64),
    ("moving_sessions", "gauge", "Connections whose old path is in use.", |s, _| s.moving as f64),
    ("held_sessions", "gauge", "Connections that have no upstream.", |s, _| s.held as f64),
    ("generation", "gauge", "Generation of the owner.", |s, _| s.generation as f64),
    ("longest_request_seconds", "gauge", "Longest request of this migration.", |s, _| {
        s.longest_request_ms / 1000.0
    }),
    ("replayed_requests_total", "counter", "Requests sent again.", |_, c| c.replayed as f64),
    ("moves_total", "counter", "Changes of the owner.", |_, c| c.moves as f64),
];

/// All metrics.
pub(crate) fn text(routes: &Routes, limits: &Limits) -> String {
    let routes: Vec<_> =
        routes.all().iter().map(|route| (route.status(), route.counts())).collect();
    let mut out = String::new();
    for (name, kind, help, value) in METRICS {
        header(&mut out, name, kind, help);
        for (status, counts) in &routes {
            let (route, value) = (&status.name, value(status, counts));
            // Writing to a string never fails.
            let _ = writeln!(out, "blockferry_switch_{name}{{route=\"{route}\"}} {value}");
        }
    }
    header(&mut out, "buffered_bytes", "gauge", "Bytes that client connections hold.");
    let _ = writeln!(out, "blockferry_switch_buffered_bytes {}", limits.buffered_total.bytes());
    out
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string never fails.
    let _ = writeln!(out, "# HELP blockferry_switch_{name} {help}");
    let _ = writeln!(out, "# TYPE blockferry_switch_{name} {kind}");
}
