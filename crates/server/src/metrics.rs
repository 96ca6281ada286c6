//! The numbers of a storage program in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use blockferry_control::api::VolumeStatus;

use crate::volumes::Volumes;

/// Name, kind, what it counts, and where it stands.
type Metric = (&'static str, &'static str, &'static str, fn(&VolumeStatus) -> f64);

const METRICS: &[Metric] = &[
    ("size_bytes", "gauge", "Size of the volume", |v| v.size as f64),
    ("generation", "gauge", "Generation of the owner", |v| v.generation as f64),
    ("reserved_address_bytes", "gauge", "Reserved write address W", |v| v.reserved_address as f64),
    ("durable_address_bytes", "gauge", "Durable part of W", |v| v.durable_address as f64),
    ("read_cursor_bytes", "gauge", "Read cursor R", |v| v.read_cursor as f64),
    ("dirty_bytes", "gauge", "Bytes that wait for a resync", |v| v.dirty_bytes as f64),
    ("in_flight_updates", "gauge", "In-flight record", |v| v.in_flight_updates as f64),
    ("sessions", "gauge", "Client paths that end here", |v| v.sessions as f64),
    ("mirrored_bytes_total", "counter", "Client writes mirrored", |v| {
        v.migration.as_ref().map_or(0.0, |m| m.mirrored_bytes as f64)
    }),
    ("resynced_bytes_total", "counter", "Bytes sent again by resync", |v| {
        v.migration.as_ref().map_or(0.0, |m| m.resynced_bytes as f64)
    }),
];

/// The numbers, in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics",
    responses((status = 200, description = "All volumes", body = str, content_type = "text/plain"))
)]
pub(crate) async fn page(State(volumes): State<Arc<Volumes>>) -> impl IntoResponse {
    let status: Vec<VolumeStatus> = volumes.all().iter().map(|v| v.status()).collect();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text(&status))
}

fn text(volumes: &[VolumeStatus]) -> String {
    let mut page = String::new();
    for (name, kind, what, value) in METRICS {
        let _ = writeln!(page, "# HELP blockferry_{name} {what}.\n# TYPE blockferry_{name} {kind}");
        for volume in volumes {
            let _ =
                writeln!(page, "blockferry_{name}{{volume=\"{}\"}} {}", volume.name, value(volume));
        }
    }
    page
}
