//! The lines of serving a volume, over NBD and over iSCSI.

use super::table::{cell, line};
use super::{Against, Line, Target};
use crate::bench::Place;
use crate::parts::{iscsi, serve};
use crate::record::Part;

/// For each workload the ratio of rates, and that of processor time a request.
const SERVING: [(f64, f64); 6] =
    [(1.1, 0.7), (1.05, 0.4), (2.5, 0.3), (2.0, 0.4), (1.5, 0.6), (1.2, 0.8)];

pub(super) fn over_nbd() -> Vec<Line> {
    let mut lines = Vec::new();
    for (workload, (rate_target, cpu_target)) in serve::WORKLOADS.iter().zip(SERVING) {
        for (client, told) in [("fio.", "fio"), ("own.", "own load")] {
            let case = serve::case(workload.name, Place::Disk);
            let is_stream = workload.name.starts_with("256k");
            let (unit, word) = if is_stream { ("mbps", "MB/s") } else { ("iops", "IOPS") };
            let at = |system, figure: &str| cell(&case, system, &format!("{client}{figure}"));
            let rate = line(
                Part::Serve,
                format!("{}: {word} ({told})", workload.name),
                at("target-src", unit),
                Against::Highest(vec![at("nbdkit-file", unit), at("qemu-nbd", unit)]),
                Target::AtLeast(rate_target),
            );
            lines.push(Line { ceiling: Some(at("nbdkit-null", unit)), ..rate });
            lines.push(line(
                Part::Serve,
                format!("{}: server's CPU a request ({told})", workload.name),
                at("target-src", "cpu_us"),
                Against::Lowest(vec![at("nbdkit-file", "cpu_us")]),
                Target::AtMost(cpu_target),
            ));
        }
    }
    lines
}

pub(super) fn uncached() -> Vec<Line> {
    let mut lines = Vec::new();
    for workload in serve::UNCACHED {
        let case = serve::uncached(workload.name);
        let at = |system, figure| cell(&case, system, figure);
        lines.push(line(
            Part::Serve,
            format!("{case}: IOPS (fio)"),
            at("target-src", "fio.iops"),
            Against::Highest(vec![at("nbdkit-file", "fio.iops"), at("qemu-nbd", "fio.iops")]),
            Target::AtLeast(1.0),
        ));
        lines.push(line(
            Part::Serve,
            format!("{case}: server's CPU a request (fio)"),
            at("target-src", "fio.cpu_us"),
            Against::Lowest(vec![at("nbdkit-file", "fio.cpu_us")]),
            Target::AtMost(1.0),
        ));
    }
    lines
}

pub(super) fn over_iscsi() -> Vec<Line> {
    let mut lines = Vec::new();
    for workload in &iscsi::WORKLOADS {
        let case = iscsi::case(workload.name, Place::Disk);
        let is_stream = workload.name.starts_with("256k");
        let (unit, word) = if is_stream { ("mbps", "MB/s") } else { ("iops", "IOPS") };
        let clients = [("perf.", "iscsi-perf"), ("qemu.", "qemu-img")];
        for (client, told) in &clients[usize::from(workload.requests.write)..] {
            let at = |system, figure: &str| cell(&case, system, &format!("{client}{figure}"));
            let against = |system, figure| Against::Highest(vec![at(system, figure)]);
            lines.push(line(
                Part::Iscsi,
                format!("iSCSI, {}: {word} ({told})", workload.name),
                at(iscsi::OURS, unit),
                against(iscsi::TGT, unit),
                Target::AtLeast(1.5),
            ));
            lines.push(line(
                Part::Iscsi,
                format!("iSCSI, {}: server's CPU a request ({told})", workload.name),
                at(iscsi::OURS, "cpu_us"),
                against(iscsi::TGT, "cpu_us"),
                Target::Untold,
            ));
        }
    }
    lines
}
