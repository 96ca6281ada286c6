//! A volume as a disk: what SCSI initiators share of it beyond its content, made durable before they
//! hear of it, and how their commands reach it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result};
use blockferry_block::Extent;
use blockferry_control::api::{DiskReply, DiskRequest, DiskState};
use blockferry_device::{Answer, Device, DeviceInfo, Errno, Failure, Inflow, Outcome, Request};
use blockferry_iscsi_session::{Change, Changed, Hushed, KeepState, Medium, Unit};
use blockferry_migration::record::{DiskRecord, Part, VolumeRecord};
use blockferry_scsi::{
    Access, BlockLength, Geometry, Identity, LogicalUnit, PhysicalBlock, Provisioning, UnitConfig,
    UnitState,
};
use futures_util::future::BoxFuture;

use super::Volume;
use super::device::VolumeDevice;
use super::modify::Modified;
use super::outgoing::Outgoing;
use super::steps::{Refused, Step};
use crate::program::{hex, random};

/// A destination keeps a disk's state within this time.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Commands that are under way end within this time, or there is no commit now.
const HUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// What a volume is to initiators; there is none before the first of them comes.
pub(super) type Disk = tokio::sync::OnceCell<Arc<Unit>>;

impl Volume {
    /// The volume's disk.
    ///
    /// # Errors
    /// When the volume cannot be one, or its identity cannot be made durable.
    pub(crate) async fn disk(self: &Arc<Self>) -> Result<Arc<Unit>> {
        let opened = self.disk.get_or_try_init(|| self.open_disk());
        opened.await.cloned()
    }

    /// An owner's volume that was a disk is one from the start: its reservations bind whoever comes first.
    pub(super) fn reopen_disk(self: &Arc<Self>) -> Result<()> {
        let state = self.state();
        let Some(record) = state.disk.filter(|_| matches!(state.part, Part::Owner | Part::Source))
        else {
            return Ok(());
        };
        let unit = self.unit(&record)?;
        // What was to end with a loss of power has ended with the program.
        unit.with(|unit| {
            let mut state = unit.state();
            state.lose_power();
            unit.restore(state);
        });
        self.disk.set(unit).ok().context("its disk is open already")
    }

    /// The disk that came with the volume, if it was one: initiators have set it up at its former owner.
    pub(super) fn take_over_disk(self: &Arc<Self>) {
        let Some(record) = self.state().disk else { return };
        match self.unit(&record) {
            // Where there is one already, this side has owned the volume before.
            Ok(unit) => {
                drop(self.disk.set(unit));
                blockferry_label::reached("destination.disk.taken-over");
            }
            Err(error) => tracing::error!(volume = %self.name, error = format!("{error:#}"),
                "the disk that came with the volume cannot be had; initiators are turned away"),
        }
    }

    async fn open_disk(self: &Arc<Self>) -> Result<Arc<Unit>> {
        let record = match self.state().disk {
            Some(record) => record,
            None => self.identify().await?,
        };
        self.unit(&record)
    }

    fn unit(self: &Arc<Self>, record: &DiskRecord) -> Result<Arc<Unit>> {
        let (uuid, state) = parse(record).context("the records of the volume's disk")?;
        let unit = LogicalUnit::new(self.disk_config(uuid)?, state);
        let keep = Keep(Arc::downgrade(self));
        Ok(Arc::new(Unit::new(unit, keep)))
    }

    /// A volume that nobody has seen as a disk gets an identity, which is its own for ever.
    async fn identify(self: &Arc<Self>) -> Result<DiskRecord> {
        let (uuid, state) = (hex(&random::<16>()), encoded(&UnitState::new()));
        let record = DiskRecord { uuid, serial: 1, state };
        self.record(VolumeRecord::Disk(record.clone())).await?;
        blockferry_label::reached("source.disk.identified");
        Ok(record)
    }

    fn disk_config(&self, uuid: [u8; 16]) -> Result<UnitConfig> {
        let features = &self.info.features;
        let geometry = Geometry::new(self.info.size, BlockLength::B512, PhysicalBlock::Logical)?;
        Ok(UnitConfig {
            identity: Identity { uuid, name: self.name.clone() },
            geometry,
            provisioning: if features.trim { Provisioning::Thin } else { Provisioning::Full },
            read_only: features.read_only,
            rotational: features.rotational,
        })
    }

    /// Here, and where the volume may be next: what cannot be kept there now is sent again before the
    /// commit.
    async fn keep_disk(self: &Arc<Self>, state: UnitState) -> Result<()> {
        let DiskRecord { uuid, serial, .. } =
            self.state().disk.context("a disk without identity")?;
        let record = DiskRecord { uuid, serial: serial + 1, state: encoded(&state) };
        self.record(VolumeRecord::Disk(record)).await?;
        blockferry_label::reached("storage.disk.recorded");
        if let Some(outgoing) = self.outgoing()
            && let Err(refused) = self.send_disk(&outgoing).await
        {
            tracing::info!(volume = %self.name, %refused, "the destination has an older disk for now");
        }
        Ok(())
    }

    /// Makes what the volume is as a disk durable at the destination.
    pub(super) async fn send_disk(&self, outgoing: &Outgoing) -> Step<()> {
        let known = self.state().disk.filter(|_| !self.faults().forget_disk);
        let Some(DiskRecord { uuid, serial, state }) = known else { return Ok(()) };
        let request = DiskRequest {
            migration: outgoing.migration.to_string(),
            token: outgoing.token.to_string(),
            disk: DiskState { uuid, serial, state },
        };
        let path = format!("/v1/volumes/{}/disk", self.name);
        blockferry_label::reached("source.disk.sending");
        let sent: Result<DiskReply, _> =
            outgoing.control.post_within(&path, &request, SEND_TIMEOUT).await;
        blockferry_label::reached("source.disk.sent");
        sent.map(drop).map_err(|error| {
            Refused::conflict(format!("the destination does not keep the disk's state: {error:#}"))
        })
    }

    /// `/disk`, at the destination.
    pub(crate) async fn disk_state(self: &Arc<Self>, request: DiskRequest) -> Step<DiskReply> {
        self.authenticated(&request.migration, &request.token)?;
        blockferry_label::reached("destination.disk.asked");
        let DiskState { uuid, serial, state } = request.disk;
        let record = DiskRecord { uuid, serial, state };
        parse(&record).map_err(|error| Refused::conflict(format!("{error:#}")))?;
        let receiver =
            self.receiver().ok_or_else(|| Refused::conflict("the destination owns the volume"))?;
        let _step = receiver.steps.lock().await;
        let known = self.state().disk.map_or(0, |known| known.serial);
        if serial > known {
            self.record(VolumeRecord::Disk(record)).await?;
            blockferry_label::reached("destination.disk.recorded");
        }
        Ok(DiskReply { serial: serial.max(known) })
    }

    /// Ends when no initiator's command is under way; none begins before the end of what is given.
    pub(super) async fn hush_disk(self: &Arc<Self>) -> Step<Option<Hushed>> {
        let Some(unit) = self.disk.get() else { return Ok(None) };
        let Ok(hushed) = tokio::time::timeout(HUSH_TIMEOUT, unit.hush()).await else {
            return Err(Refused::conflict("an iSCSI initiator's command does not end; try again"));
        };
        self.record_disk(unit).await?;
        Ok(Some(hushed))
    }

    /// Has the records tell what the disk is now: a restart has taken from it what was not to outlive
    /// one. Nothing changes it meanwhile.
    async fn record_disk(self: &Arc<Self>, unit: &Unit) -> Step<()> {
        let state = encoded(&unit.with(|unit| unit.state()));
        match self.state().disk {
            Some(DiskRecord { uuid, serial, state: known }) if known != state => {
                let record = DiskRecord { uuid, serial: serial + 1, state };
                Ok(self.record(VolumeRecord::Disk(record)).await?)
            }
            _ => Ok(()),
        }
    }

    /// How many initiators are logged in.
    pub(crate) fn initiators(&self) -> u64 {
        self.disk.get().map_or(0, |unit| unit.sessions() as u64)
    }

    /// Initiators that are logged in have to find their volume where it goes to.
    pub(super) fn check_initiators(&self, destination: Option<&str>) -> Step<()> {
        let sessions = self.initiators();
        if sessions == 0 || destination.is_some() {
            return Ok(());
        }
        Err(Refused::conflict(format!(
            "{sessions} iSCSI initiators are logged in, and the destination serves no iSCSI, or at an address \
             that it does not tell: start it with --iscsi, and --iscsi-advertise where that is 0.0.0.0, or log \
             them out"
        )))
    }

    /// Whether the volume was here and has moved, and then where initiators find it, if anywhere.
    pub(crate) fn moved_to(&self) -> Option<Option<String>> {
        let state = self.state();
        let moved = matches!(state.part, Part::Forwarding | Part::Retired);
        Some(state.migration.filter(|_| moved)?.peer.iscsi)
    }

    /// Whether initiators know the volume as a disk.
    #[inline]
    pub(super) fn is_disk(&self) -> bool {
        self.disk.initialized()
    }

    /// Whether an initiator's reservation or write protection stands against a request of a client that
    /// is none.
    pub(super) fn admits_stranger(&self, request: &Request) -> bool {
        let access = if request.is_write() { Access::Write } else { Access::Read };
        self.disk.get().is_none_or(|unit| unit.with(|unit| unit.admits_stranger(access)))
    }
}

/// Makes the state of a volume's disk durable.
struct Keep(Weak<Volume>);

impl KeepState for Keep {
    fn keep(&self, state: UnitState) -> BoxFuture<'static, Result<(), Failure>> {
        let volume = self.0.upgrade();
        Box::pin(async move {
            let volume =
                volume.ok_or_else(|| Failure::new(Errno::Shutdown, "the volume is gone"))?;
            let kept = volume.keep_disk(state).await;
            kept.map_err(|error| Failure::new(Errno::Io, format!("{error:#}")))
        })
    }
}

/// A volume as the commands of one session reach it.
pub(crate) struct VolumeMedium(pub(crate) Arc<VolumeDevice>);

impl Device for VolumeMedium {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }

    fn call(&self, request: Request) -> Answer {
        self.0.call(request)
    }

    fn call_now(&self, request: &Request) -> Option<Outcome> {
        self.0.call_now(request)
    }

    fn begin_write(&self, extent: Extent) -> Option<Inflow> {
        self.0.begin_write(extent)
    }
}

impl Medium for VolumeMedium {
    fn change(
        &self,
        extent: Extent,
        change: Change,
    ) -> BoxFuture<'static, Result<Changed, Failure>> {
        let device = Arc::clone(&self.0);
        Box::pin(async move { changed(&device, extent, change).await })
    }
}

async fn changed(
    device: &VolumeDevice,
    extent: Extent,
    Change { kind, fua }: Change,
) -> Result<Changed, Failure> {
    let differs = AtomicU64::new(0);
    let made = |found: &[u8]| match kind.of(found) {
        Ok(data) => Some(data),
        Err(at) => {
            differs.store(at, Ordering::Relaxed);
            None
        }
    };
    let modified = device.modify(extent, fua, &made).await?;
    Ok(match modified {
        Modified::Written => Changed::Made,
        Modified::Left => Changed::Differs { at: differs.into_inner() },
        Modified::Unknown => Changed::Unknown,
        Modified::Forward => {
            return Err(Failure::new(Errno::Shutdown, "the volume has moved; log in again"));
        }
    })
}

/// Identity and state of a record.
fn parse(record: &DiskRecord) -> Result<([u8; 16], UnitState)> {
    let uuid = parse_hex(&record.uuid).and_then(|uuid| uuid.try_into().ok());
    let uuid = uuid.context("a disk's identity has 32 hexadecimal digits")?;
    let state = parse_hex(&record.state).context("a disk's state is hexadecimal")?;
    Ok((uuid, UnitState::decode(&state)?))
}

fn encoded(state: &UnitState) -> String {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    hex(&bytes)
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let is_hex = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
        let pair = std::str::from_utf8(pair).ok().filter(|_| is_hex)?;
        u8::from_str_radix(pair, 16).ok()
    });
    pairs.collect()
}
