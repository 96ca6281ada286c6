//! `demo`: a volume moves from one storage program to another while a checked load reads and writes
//! it. Everything is real and on this machine: three child processes, unix sockets in a folder that
//! is removed at the end, and the same migration that `migrate` makes.

mod children;
mod proof;
mod volume;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use blockferry_block::MIB;
use blockferry_checker::{Load, LoadConfig, LoadHandle};
use blockferry_control::api::SlowDestination;
use blockferry_copier::Manner;
use blockferry_device::Device;
use blockferry_initiator::{Initiator, InitiatorSpec};
use blockferry_nbd_session::{ConnectOptions, connect};
use tokio::time::{sleep, timeout};

use crate::cli::{Copier, DemoArgs};
use crate::command::{Desk, MigrateOrder, migrate};
use crate::parties::{Parties, Storage, Switch};
use crate::report::Report;
use crate::settings::Driving;
use crate::show::{Event, Show, bytes};

use children::Children;
use proof::Proof;

/// The volume's name.
const NAME: &str = "demo";

/// Smallest and largest demo, in bytes: it is to show something and to end within a minute.
const SIZE_RANGE: std::ops::RangeInclusive<u64> = MIB..=8 << 30;

/// Connections of the load.
const CONNECTIONS: usize = 2;

/// How long the initiator's first login may take.
const LOGIN_MAX: Duration = Duration::from_secs(20);

/// Requests a second: a busy client that leaves room for the copy on the smallest machine.
const REQUESTS_PER_SECOND: u32 = 2000;

/// How long the load runs before the volume moves.
const WARM_UP: Duration = Duration::from_secs(1);

/// Somebody who keeps the report, so that the demo can end with its own words.
struct Keeper<'a> {
    show: &'a dyn Show,
    report: Mutex<Option<Report>>,
}

impl Show for Keeper<'_> {
    fn show(&self, event: &Event) {
        match event {
            Event::Done(report) => {
                let mut kept = self.report.lock().unwrap_or_else(PoisonError::into_inner);
                *kept = Some((**report).clone());
            }
            other => self.show.show(other),
        }
    }
}

/// Runs the demo.
///
/// # Errors
/// When a program does not start, the migration fails, or the load was told something wrong.
pub(crate) async fn demo(args: &DemoArgs, show: &dyn Show) -> anyhow::Result<()> {
    ensure!(SIZE_RANGE.contains(&args.size), "the demo's volume has 1 MiB to 8 GiB");
    let folder = tempfile::Builder::new().prefix("blockferry-demo-").tempdir();
    let folder = folder.context("no temporary folder")?;
    let dir = folder.path();
    let say = |message: String| show.show(&Event::Note { message });

    say(format!("making a volume of {} in {}", bytes(args.size), dir.display()));
    let image = dir.join("source.img");
    volume::make(image.clone(), args.size).await?;
    let children = Children::start(dir, NAME, &image).await?;
    say("started target-src, target-dst and switch-proxy".to_owned());

    let load = start_load(&children).await?;
    say(format!(
        "clients write and read through the switch: {CONNECTIONS} connections of NBD and a session of \
         iSCSI, up to {REQUESTS_PER_SECOND} requests a second, every answer checked"
    ));
    sleep(WARM_UP).await;
    let moved = move_volume(&children, dir, show).await?;
    say(format!("the volume has moved; the client goes on for {} s", args.seconds));
    sleep(Duration::from_secs(args.seconds)).await;

    let seen = load.stop().await;
    let proof =
        Proof::of(&seen, &image, &children.switch_nbd(), &dir.join("pool").join(NAME)).await?;
    children.stop().await;
    say(summary(&moved, &seen, &proof));
    proof.verdict(&moved, &seen)
}

async fn start_load(children: &Children) -> anyhow::Result<LoadHandle> {
    let mut devices: Vec<Arc<dyn Device>> = Vec::new();
    for _ in 0..CONNECTIONS {
        let link = connect(&ConnectOptions::new(children.switch_nbd(), NAME)).await;
        devices.push(Arc::new(link.context("the client cannot connect to the switch")?));
    }
    let disk =
        format!("iscsi://{}/iqn.2026-01.io.blockferry:{NAME}/0", children.switch_portal().await?);
    let login = Initiator::log_in(InitiatorSpec::new(&disk.parse()?, 0));
    let initiator = timeout(LOGIN_MAX, login).await.context("the initiator cannot log in")?;
    devices.push(Arc::new(initiator.context("the initiator cannot use the disk")?));
    let config = LoadConfig { rate: Some(REQUESTS_PER_SECOND), ..LoadConfig::default() };
    Load::start(devices, config).context("the load does not start")
}

/// The migration, as `migrate` makes it.
async fn move_volume(children: &Children, dir: &Path, show: &dyn Show) -> anyhow::Result<Report> {
    let volume = NAME.parse()?;
    let parties = Parties {
        source: Storage::new(children.source_control(), &volume, None),
        destination: Storage::new(children.destination_control(), &volume, None),
        switches: vec![Switch::new(children.switch_control(), &volume, None)],
        volume,
    };
    let order = MigrateOrder {
        driving: Driving {
            manner: Manner::default(),
            copier: Copier::Controller,
            bandwidth: None,
            client_p99: None,
            verify: false,
            hold: false,
            certificate: Some(dir.join("certificate.json")),
        },
        slow_destination: SlowDestination::Pause,
        dry_run: false,
    };
    let keeper = Keeper { show, report: Mutex::default() };
    migrate(&Desk::on(&parties, &keeper), &order).await?;
    let report = keeper.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    match report {
        Some(report) => Ok(report),
        None => bail!("the migration ended without a report"),
    }
}

fn summary(moved: &Report, seen: &blockferry_checker::Report, proof: &Proof) -> String {
    let known = |count: Option<u64>| bytes(count.unwrap_or(0));
    let carried = &moved.carried;
    format!(
        "\n  moved      {} in {:.1} s and {} pass; {} copied, {} of holes, {} mirrored\n  \
         client     {} requests, {} failed, {} wrong answers; longest {:.1} ms (cutover {:.1} ms)\n  \
         digest     {}, {}\n  \
         at rest    {} written by the client and {} never touched: {}",
        bytes(moved.size),
        moved.seconds,
        carried.passes.unwrap_or(0),
        known(carried.copied_bytes),
        known(carried.zero_bytes),
        known(carried.mirrored_bytes),
        seen.operations.total(),
        seen.errors.total,
        seen.violations.total,
        seen.longest.ms,
        moved.cutover_ms.unwrap_or(0.0),
        moved.digest.as_deref().unwrap_or("unknown"),
        if moved.digest_match == Some(true) { "equal on both sides" } else { "NOT EQUAL" },
        bytes(proof.journalled_bytes),
        bytes(proof.untouched_bytes),
        if proof.is_clean() { "all there, nothing lost" } else { "NOT ALL THERE" },
    )
}
