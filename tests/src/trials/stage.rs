//! The cast of one trial: the programs, armed to stop or die where the trial says, and the load.

use std::collections::{HashMap, VecDeque};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use blockferry_block::{Extent, KIB, MIB};
use blockferry_checker::LoadConfig;
use blockferry_iscsi::PortalAddress;

use super::calls::Tracing;
use super::disk::Way;
use super::network::Network;
use super::relays::Relays;
use super::trial::{Blow, Party, Point, Trial};
use crate::cast::{
    Cluster, Controller, Process, Scratch, Storage, StorageSpec, Switch, SwitchSpec, VOLUME,
    fill_random,
};

/// Size of the volume.
const SIZE: u64 = 16 * MIB;

/// Where initiators count, beyond what the load uses.
pub(super) const CELLS: u64 = SIZE - 64 * KIB;

/// How it is copied: slowly enough that the load meets the copy, and checkpoints are made.
const COPY: [&str; 4] = ["--chunk", "1M", "--bandwidth", "12M"];

/// What the programs log: every label that they pass.
const LOG: &str = "debug,blockferry_label=trace";

/// What the controller logs, besides what it prints.
const CONTROLLER_LOG: &str = "info,blockferry_label=trace";

/// What a traced program logs: little, since every line is a system call.
const LOG_TRACED: &str = "info";

/// Requests of the load a second, over all connections.
const RATE: u32 = 120;

/// The same where a program is traced, which makes it slow.
const RATE_TRACED: u32 = 60;

/// The token file, where there is a network.
const TOKEN: &str = "token";

/// What is common to trials.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Folder for the logs of trials; those of trials that failed stay.
    pub logs: PathBuf,
    /// A protocol fault that the storage programs commit on purpose, to see that it is found.
    pub seed_fault: Option<String>,
    /// Whose system calls are to be written to which file.
    pub counted: Option<(Party, PathBuf)>,
}

/// The cast of one trial.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) relays: Relays,
    /// Theirs alone, if they have one.
    pub(super) network: Option<Network>,
    /// Blows that are still to come.
    pub(super) coming: VecDeque<Blow>,
    pub(super) trial: Trial,
    /// The switch's worker, by its process id.
    pub(super) worker: u32,
    /// Who traces that worker.
    _shadow: Option<Process>,
    /// The controller that runs now.
    pub(super) running: Option<Controller>,
    setting: Setting,
    /// Where the switch serves initiators.
    portal: Option<PortalAddress>,
}

impl Stage {
    /// Starts the storage programs and the switch.
    pub(super) async fn set(trial: &Trial, setting: &Setting) -> Result<Self> {
        let scratch = Scratch::new();
        fill_random(&scratch.join("volume"), SIZE);
        let mut coming: VecDeque<Blow> = trial.blows.iter().copied().collect();
        let network = trial.net.then(Network::new).transpose()?;
        if network.is_some() {
            write_token(&scratch.join(TOKEN))?;
        }
        let of_disk =
            |spec: StorageSpec| if trial.iscsi { spec.on_iscsi(&own_host()) } else { spec };
        let source = of_disk(StorageSpec::new("target-src", &scratch.join("a")));
        let source = placed(source.volume(VOLUME, scratch.join("volume")), &scratch, &network);
        let source = storage(Party::Source, source, setting, &mut coming).await;
        let destination = of_disk(StorageSpec::new("target-dst", &scratch.join("b")));
        let destination = placed(destination, &scratch, &network);
        let destination = storage(Party::Destination, destination, setting, &mut coming).await;
        let mut relays = Relays::new();
        if trial.has_cuts() {
            relays.stand_before(Party::Source, &scratch.join("a/nbd"))?;
            relays.stand_before(Party::Source, &scratch.join("a/control"))?;
            relays.stand_before(Party::Destination, &scratch.join("b/nbd"))?;
            relays.stand_before(Party::Destination, &scratch.join("b/control"))?;
            for (party, storage) in [(Party::Source, &source), (Party::Destination, &destination)] {
                if let Some(portal) = &storage.spec.iscsi {
                    relays.lead_to(party, portal, &detour(&scratch, party))?;
                }
            }
        }
        let tracing = tracing(Party::Switch, setting, &coming);
        // The load is in no namespace.
        let tcp = tracing.is_some() || !trial.net && trial.seed % 2 == 1;
        let mut behind = switch_spec(&scratch, &source, &coming, (network.as_ref(), tcp));
        if trial.switched {
            behind.routes.push(format!("{VOLUME}=iscsi://{}", source.portal()));
            behind.more.extend(["--iscsi".to_owned(), format!("{}:0", own_host())]);
        }
        let switch = Switch::start(behind).await;
        let portal: Option<PortalAddress> = match trial.switched {
            true => Some(switch.portal().await.parse().context("the switch's portal")?),
            false => None,
        };
        let worker = switch.worker().await;
        let shadow = match tracing {
            Some(tracing) => Some(tracing.of(worker).await),
            None => None,
        };
        if trial.has_cuts() {
            relays.stand_before(Party::Switch, &scratch.join("switch-control"))?;
            if let Some(portal) = &portal {
                let detour = detour(&scratch, Party::Switch);
                relays.lead_to(Party::Switch, &portal.to_string(), &detour)?;
            }
        }
        relays.introduce(Party::Source, source.process.pid());
        relays.introduce(Party::Destination, destination.process.pid());
        relays.introduce(Party::Switch, worker);
        let cluster = Cluster { source, destination, switch, scratch };
        let (trial, setting) = (trial.clone(), setting.clone());
        let (running, _shadow) = (None, shadow);
        Ok(Self {
            cluster,
            relays,
            network,
            coming,
            trial,
            worker,
            _shadow,
            running,
            setting,
            portal,
        })
    }

    fn is_traced(&self) -> bool {
        let by_call = |blow: &Blow| matches!(blow.point, Point::Call(_));
        self.setting.counted.is_some() || self.trial.blows.iter().any(by_call)
    }

    /// The load.
    pub(super) fn load_config(&self) -> LoadConfig {
        let rate = if self.is_traced() { RATE_TRACED } else { RATE };
        let span = self.trial.iscsi.then_some(Extent::between(0, CELLS));
        LoadConfig { rate: Some(rate), seed: self.trial.seed, span, ..LoadConfig::default() }
    }

    /// How initiators reach the volume: at the switch, or they know the portals of both storage programs
    /// and begin at the source's.
    pub(super) fn way(&self) -> Result<Way> {
        let cluster = &self.cluster;
        let portal = |storage: &Storage| storage.portal().parse().context("a portal");
        let ends = match &self.portal {
            Some(portal) => vec![(Party::Switch, portal.clone())],
            None => vec![
                (Party::Source, portal(&cluster.source)?),
                (Party::Destination, portal(&cluster.destination)?),
            ],
        };
        let mut way = Way { portals: Vec::new(), detours: HashMap::new() };
        for (party, portal) in ends {
            if self.trial.has_cuts() {
                way.detours.insert(portal.clone(), detour(&cluster.scratch, party));
            }
            way.portals.push(portal);
        }
        Ok(way)
    }

    /// Starts a command of the controller, armed with what is still to come.
    pub(super) fn controller(&self, command: &str) -> Controller {
        let cluster = &self.cluster;
        let storages = [cluster.source.control(), cluster.destination.control()];
        let [from, to] = storages.map(|address| address.to_string());
        let mut arguments = vec![command, VOLUME, "--from", &from, "--to", &to, "--json"];
        arguments.extend(["--log", if self.is_traced() { LOG_TRACED } else { CONTROLLER_LOG }]);
        if ["migrate", "resume"].contains(&command) {
            arguments.extend(COPY);
            if self.trial.carried {
                arguments.extend(["--copier", "destination"]);
            }
        }
        let switch = cluster.switch.control().to_string();
        if self.trial.told || command == "status" {
            arguments.extend(["--switch", &switch]);
        }
        let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let mut under = Vec::new();
        if let Some(network) = &self.network {
            let token_file = cluster.scratch.join(TOKEN).display().to_string();
            arguments.extend(["--token-file".to_owned(), token_file]);
            // Who only looks is not cut off.
            if command != "status" {
                under = network.under(Party::Controller);
            }
        }
        if command != "status" {
            arguments.extend(stops(Party::Controller, &self.coming));
            let tracing = tracing(Party::Controller, &self.setting, &self.coming);
            under.extend(tracing.iter().flat_map(Tracing::around));
        }
        let controller = Controller::start_under(&under, cluster.scratch.path(), &arguments);
        self.relays.introduce(Party::Controller, controller.process.pid());
        controller
    }

    /// Starts a storage program again, after its death.
    pub(super) async fn restart(&mut self, party: Party) {
        let storage = match party {
            Party::Source => &mut self.cluster.source,
            _ => &mut self.cluster.destination,
        };
        let more = &mut storage.spec.more;
        while let Some(at) = more.iter().position(|word| word == "--stop-at") {
            more.drain(at..at + 2);
        }
        more.extend(stops(party, &self.coming));
        storage.spec.under =
            self.network.as_ref().map(|network| network.under(party)).unwrap_or_default();
        storage.restart().await;
        self.relays.introduce(party, storage.process.pid());
    }

    /// The process of a party, if it runs.
    pub(super) fn process(&mut self, party: Party) -> Option<&mut Process> {
        match party {
            Party::Source => Some(&mut self.cluster.source.process),
            Party::Destination => Some(&mut self.cluster.destination.process),
            Party::Switch => Some(&mut self.cluster.switch.process),
            Party::Controller => self.running.as_mut().map(|run| &mut run.process),
        }
    }
}

/// Starts a storage program. One that a system call kills before it serves is started again.
async fn storage(
    party: Party,
    mut spec: StorageSpec,
    setting: &Setting,
    coming: &mut VecDeque<Blow>,
) -> Storage {
    LOG.clone_into(&mut spec.log);
    if let Some(fault) = &setting.seed_fault {
        spec = spec.with("--seed-fault").with(fault);
    }
    let plain = spec.clone();
    spec.more.extend(stops(party, coming));
    let Some(tracing) = tracing(party, setting, coming) else {
        return Storage::start(spec).await;
    };
    spec.under = tracing.around();
    LOG_TRACED.clone_into(&mut spec.log);
    match Storage::try_start(spec).await {
        Ok(storage) => storage,
        Err(_) => {
            coming.retain(|blow| blow.party != party);
            Storage::start(plain).await
        }
    }
}

/// In the trial's network, if it has one: where others reach it, so that it asks for a token.
fn placed(mut spec: StorageSpec, scratch: &Scratch, network: &Option<Network>) -> StorageSpec {
    let Some(network) = network else { return spec };
    let party = if spec.program == "target-src" { Party::Source } else { Party::Destination };
    spec.under = network.under(party);
    spec.nbd = format!("{}:10809", network.address(party));
    spec.control = format!("{}:10811", network.address(party));
    spec.token_file = Some(scratch.join(TOKEN));
    spec
}

/// The socket of the relay that initiators call instead of a portal.
fn detour(scratch: &Scratch, party: Party) -> PathBuf {
    scratch.join(&format!("{party}-portal"))
}

/// An address of the loopback network that hardly anybody else uses: a program that was killed finds its
/// port free.
fn own_host() -> String {
    static HOSTS: AtomicU32 = AtomicU32::new(0);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = HOSTS.fetch_add(1, Ordering::Relaxed) % 100;
    format!("127.{}.{middle}.{}", 1 + u32::from(high % 2) * 100 + host, 1 + low % 250)
}

fn write_token(file: &Path) -> Result<()> {
    std::fs::write(file, "known-to-every-program-of-the-trial")?;
    std::fs::set_permissions(file, Permissions::from_mode(0o600))?;
    Ok(())
}

/// The switch. Over TCP its worker has the client's socket itself.
fn switch_spec(
    scratch: &Scratch,
    source: &Storage,
    coming: &VecDeque<Blow>,
    (network, tcp): (Option<&Network>, bool),
) -> SwitchSpec {
    let socket = |name| format!("unix:{}", scratch.join(name).display());
    let mut more = vec!["--log".to_owned(), LOG.to_owned()];
    more.extend(stops(Party::Switch, coming));
    let routes = [(VOLUME, source.uri(VOLUME))];
    let listen = if tcp { "127.0.0.1:0".to_owned() } else { socket("switch-nbd") };
    let control = socket("switch-control");
    let mut spec = SwitchSpec::new(listen, control, scratch.join("switch"), &routes);
    if let Some(network) = network {
        spec.under = network.under(Party::Switch);
        spec.control = format!("{}:10811", network.address(Party::Switch));
        spec.token_file = Some(scratch.join(TOKEN));
    }
    SwitchSpec { more, ..spec }
}

/// Flags for the labels at which the party is to stop.
fn stops(party: Party, coming: &VecDeque<Blow>) -> Vec<String> {
    let labels = coming.iter().filter(|blow| blow.party == party).filter_map(|blow| {
        let Point::Label(label) = blow.point else { return None };
        Some(["--stop-at".to_owned(), format!("{label}:{}", blow.time)])
    });
    labels.flatten().collect()
}

/// What the party is traced for: to be killed at a system call, or to have them counted.
fn tracing<'a>(party: Party, setting: &'a Setting, coming: &VecDeque<Blow>) -> Option<Tracing<'a>> {
    let call = coming.iter().find_map(|blow| match blow.point {
        Point::Call(call) if blow.party == party => Some(Tracing::Kill(call, blow.time)),
        _ => None,
    });
    let counted = setting.counted.as_ref().filter(|(counted, _)| *counted == party);
    call.or(counted.map(|(_, file)| Tracing::Count(file)))
}
