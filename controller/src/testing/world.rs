//! Two storage programs and a switch in memory: control servers on loopback that answer as the real
//! ones do, and volumes that a copier reaches without a network.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use blockferry_control::api::{
    CopyReply, DigestStatus, MigrationStatus, PartyAddress, ProgramStatus, RouteStatus, VolumeRole,
    VolumeStatus,
};
use blockferry_control::{ControlServer, ListenAddress};
use blockferry_copier::fake::FakeEnd;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::handlers;
use crate::parties::{Parties, Storage, Switch};

/// The volume's name in every test.
pub(crate) const NAME: &str = "vol";

/// NBD addresses, which [`super::network::FakeNetwork`] tells apart.
pub(crate) const SOURCE_NBD: &str = "nbd://127.0.0.1:1";
pub(crate) const DESTINATION_NBD: &str = "nbd://127.0.0.1:2";

/// What happens to the world when the copy first writes at or beyond an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The destination restarts: it falls back to what was durable, and the source attaches again.
    DestinationRestarts,
    /// The connections break; both programs live.
    ConnectionsBreak,
    /// The write is never answered.
    WriteHangs,
    /// Another controller takes the migration over.
    TakenOver,
}

/// How the source answers `/commit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitFault {
    /// It refuses: a new attempt may follow.
    Refused,
    /// It commits, but its answer is lost.
    CommittedWithoutAnswer,
    /// It does not commit, and its answer is lost.
    LostBeforeCommit,
}

/// The state of everybody.
pub(crate) struct State {
    /// Names of the steps in the order in which they arrived, `party step`.
    pub(crate) calls: Vec<String>,
    pub(crate) size: u64,
    pub(crate) source_role: VolumeRole,
    pub(crate) source_boot: u64,
    pub(crate) destination_role: Option<VolumeRole>,
    pub(crate) destination_boot: u64,
    pub(crate) generation: u64,
    pub(crate) migration: Option<Sending>,
    /// What the destination remembers; the same migration unless a test says otherwise.
    pub(crate) receiving: Option<String>,
    pub(crate) route: Option<RouteStatus>,
    pub(crate) durable: u64,
    pub(crate) dirty: u64,
    pub(crate) protocol: u32,
    /// What comes of the next questions.
    pub(crate) receive_problems: Vec<String>,
    pub(crate) prepare_problems: Vec<String>,
    pub(crate) commit_faults: VecDeque<CommitFault>,
    /// What becomes of the copies that the destination is to carry; when there is none, it does not know
    /// what that is, like older versions.
    pub(crate) copies: VecDeque<CopyReply>,
    pub(crate) mismatches: VecDeque<u64>,
    /// The destination is restarted when the first comparison begins.
    pub(crate) restart_when_compared: bool,
    /// The source is restarted when it is first asked to settle.
    pub(crate) restart_when_settling: bool,
    /// Whether this run of the source has agreed on a digest with the destination.
    pub(crate) digest_agreed: bool,
    /// Bytes that this run of the source has compared.
    pub(crate) verified: u64,
    pub(crate) troubles: Vec<(u64, Trouble)>,
    /// Connections opened before this count are lost.
    pub(crate) connections_cut: u64,
    pub(crate) connections: u64,
}

/// A migration as the source knows it.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) term: u64,
    pub(crate) epoch: u64,
    pub(crate) attempt: u64,
    pub(crate) paused: bool,
    pub(crate) rewinds: u64,
}

/// Everybody, and where they are reached.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) source: FakeEnd,
    pub(crate) destination: FakeEnd,
    addresses: Arc<Mutex<Vec<ListenAddress>>>,
    /// Ends the servers with the test.
    _shutdown: Arc<DropGuard>,
}

impl World {
    /// A source that owns a volume with this content, an empty destination, and a switch.
    pub(crate) async fn with(content: Vec<u8>) -> Self {
        let size = content.len() as u64;
        let shutdown = CancellationToken::new();
        let mut source = FakeEnd::new(content);
        source.info.features.flush = true;
        let world = Self {
            state: Arc::new(Mutex::new(State::of(size))),
            source,
            destination: FakeEnd::new(vec![0; usize::try_from(size).unwrap()]),
            addresses: Arc::default(),
            _shutdown: Arc::new(shutdown.clone().drop_guard()),
        };
        for router in [
            handlers::source(world.clone_without_guard()),
            handlers::destination(world.clone_without_guard()),
            handlers::switch(world.clone_without_guard()),
        ] {
            let any = "127.0.0.1:0".parse().unwrap();
            let server = ControlServer::bind(&any, None).await.unwrap();
            world.addresses.lock().unwrap().push(server.address().clone());
            tokio::spawn(server.serve(router.into(), shutdown.clone()));
        }
        world
    }

    /// For the servers, which must not keep themselves alive.
    fn clone_without_guard(&self) -> Self {
        let never = Arc::new(CancellationToken::new().drop_guard());
        Self { _shutdown: never, ..self.clone() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The control address of source (0), destination (1) or switch (2).
    pub(crate) fn control(&self, party: usize) -> String {
        self.addresses.lock().unwrap()[party].to_control(None).unwrap().to_string()
    }

    /// The parties as a command sees them.
    pub(crate) fn parties(&self) -> Parties {
        let volume = NAME.parse().unwrap();
        let address = |party| self.control(party).parse().unwrap();
        Parties {
            source: Storage::new(address(0), &volume, None),
            destination: Storage::new(address(1), &volume, None),
            switches: vec![Switch::new(address(2), &volume, None)],
            volume,
        }
    }

    /// `W`.
    pub(crate) fn reserved(&self) -> u64 {
        self.destination.store().cursor
    }

    /// The destination has carried the copy to the end.
    pub(crate) fn carry(&self) {
        let content = self.source.store().content.clone();
        let mut store = self.destination.store();
        store.cursor = content.len() as u64;
        store.content = content;
    }

    /// The destination loses what was not durable, and the source attaches to its new run.
    pub(crate) fn restart_destination(&self) {
        let mut state = self.state();
        state.destination_boot += 100;
        state.connections_cut = state.connections;
        let (durable, mut store) = (state.durable, self.destination.store());
        let kept = usize::try_from(durable).unwrap();
        store.content[kept..].fill(0xEE);
        store.cursor = durable;
        if let Some(sending) = &mut state.migration {
            sending.epoch += 1;
            sending.rewinds += 1;
        }
    }

    /// The source knows of the digest and of a comparison no more.
    pub(crate) fn restart_source(&self) {
        let mut state = self.state();
        state.source_boot += 100;
        state.digest_agreed = false;
        state.verified = 0;
    }

    pub(crate) fn source_status(&self) -> VolumeStatus {
        let (state, reserved) = (self.state(), self.reserved());
        VolumeStatus {
            size: state.size,
            generation: state.generation_at_source(),
            reserved_address: reserved,
            durable_address: state.durable_now(reserved),
            read_cursor: self.source.store().cursor,
            dirty_bytes: state.dirty,
            migration: state.migration.as_ref().map(|sending| MigrationStatus {
                digest: Some(DigestStatus {
                    algorithm: "test".to_owned(),
                    address: reserved,
                    value: "d1".to_owned(),
                    matches: state.digest_agreed.then_some(true),
                }),
                verified_bytes: state.verified,
                paused: sending.paused,
                rewinds: sending.rewinds,
                copied_bytes: reserved,
                longest_request_ms: 1.5,
                ..state.migration_status(sending, &self.control(1), DESTINATION_NBD)
            }),
            ..super::volume(state.source_role)
        }
    }

    pub(crate) fn destination_status(&self) -> Option<VolumeStatus> {
        let (state, reserved) = (self.state(), self.reserved());
        let role = state.destination_role?;
        Some(VolumeStatus {
            size: state.size,
            generation: state.generation,
            reserved_address: reserved,
            durable_address: state.durable_now(reserved),
            migration: state.receiving.as_ref().map(|id| {
                let sending = state.migration.as_ref();
                MigrationStatus {
                    id: id.clone(),
                    epoch: sending.map_or(1, |sending| sending.epoch),
                    ..super::migration(id, &self.control(0))
                }
            }),
            ..super::volume(role)
        })
    }

    pub(crate) fn program(&self, party: usize) -> ProgramStatus {
        let state = self.state();
        let (program, boot, nbd) = [
            ("target-src", state.source_boot, SOURCE_NBD),
            ("target-dst", state.destination_boot, DESTINATION_NBD),
            ("switch-proxy", 3, "nbd://127.0.0.1:3"),
        ][party];
        ProgramStatus {
            program: program.to_owned(),
            version: "0".to_owned(),
            protocol: state.protocol,
            boot,
            address: PartyAddress {
                nbd: nbd.to_owned(),
                control: self.control(party),
                iscsi: None,
            },
        }
    }
}

impl State {
    fn of(size: u64) -> Self {
        Self {
            calls: Vec::new(),
            size,
            source_role: VolumeRole::Owner,
            source_boot: 11,
            destination_role: None,
            destination_boot: 12,
            generation: 1,
            migration: None,
            receiving: None,
            route: Some(RouteStatus {
                name: NAME.to_owned(),
                upstream: format!("{SOURCE_NBD}/{NAME}"),
                generation: 1,
                sessions: 2,
                unanswered: 0,
                initiators: 0,
                moving: 0,
                held: 0,
                candidate: None,
                longest_request_ms: 2.5,
            }),
            durable: 0,
            dirty: 0,
            protocol: 1,
            receive_problems: Vec::new(),
            prepare_problems: Vec::new(),
            commit_faults: VecDeque::new(),
            copies: VecDeque::new(),
            mismatches: VecDeque::new(),
            restart_when_compared: false,
            restart_when_settling: false,
            digest_agreed: true,
            verified: 0,
            troubles: Vec::new(),
            connections_cut: 0,
            connections: 0,
        }
    }

    /// A committed source knows the new owner's generation at once.
    fn generation_at_source(&self) -> u64 {
        match self.source_role {
            VolumeRole::Forwarding => 2,
            _ => self.generation,
        }
    }

    /// The last checkpoint is made when the sweep is over.
    fn durable_now(&self, reserved: u64) -> u64 {
        if reserved == self.size { reserved } else { self.durable }
    }

    fn migration_status(&self, sending: &Sending, control: &str, nbd: &str) -> MigrationStatus {
        MigrationStatus {
            term: sending.term,
            attempt: sending.attempt,
            epoch: sending.epoch,
            peer: PartyAddress { nbd: nbd.to_owned(), control: control.to_owned(), iscsi: None },
            ..super::migration(&sending.id, control)
        }
    }
}
