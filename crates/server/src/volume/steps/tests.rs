//! Controllers that meet at one volume.

use std::sync::Arc;

use blockferry_control::api::{AbortRequest, TermRequest, VerifyRequest};
use blockferry_migration::record::Party;
use blockferry_store::MemoryStore;
use tempfile::TempDir;

use super::super::outgoing::Outgoing;
use blockferry_migration::source::PhaseName;

use super::*;
use crate::volume::testing::{self, MIGRATION, TOKEN};

const SIZE: u64 = 1 << 20;

/// A volume in memory.
fn open(folder: &TempDir, first: Option<VolumeRecord>) -> Arc<Volume> {
    testing::open(folder.path(), Arc::new(MemoryStore::new(SIZE)), first)
}

/// A source whose destination is away.
struct Sending {
    volume: Arc<Volume>,
    folder: TempDir,
}

impl Sending {
    async fn begun() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let first = VolumeRecord::Owner { generation: 1, size: SIZE, backing: "a store".into() };
        let volume = open(&folder, Some(first));
        let nobody =
            Party { nbd: "nbd://127.0.0.1:1".into(), control: "unix:/nobody".into(), iscsi: None };
        let record = VolumeRecord::Sending {
            migration: MIGRATION.into(),
            token: TOKEN.into(),
            destination: nobody,
            throttle: false,
        };
        volume.record(record).await.expect("recorded");
        volume.record(VolumeRecord::Term { term: 1 }).await.expect("recorded");
        volume.owner().expect("an owner").with(Source::begin);
        Self { volume, folder }
    }

    async fn take_over(&self) -> Step<u64> {
        let request = TermRequest { migration: MIGRATION.into(), token: None, client_p99_ms: None };
        self.volume.term(request).await.map(|reply| reply.term)
    }

    async fn abort(&self) -> Step<()> {
        let request = AbortRequest { migration: MIGRATION.into(), term: 1, token: None };
        self.volume.abort(&request).await
    }

    fn phase(&self) -> PhaseName {
        self.volume.owner().expect("an owner").with(|source| source.phase())
    }

    fn term(&self) -> u64 {
        self.volume.state().migration.expect("a migration").term
    }
}

#[tokio::test]
async fn a_bound_for_clients_that_makes_no_sense_is_refused_and_takes_nothing_over() {
    let sending = Sending::begun().await;
    for ms in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
        let migration = MIGRATION.to_owned();
        let request = TermRequest { migration, token: None, client_p99_ms: Some(ms) };
        let refusal = sending.volume.term(request).await.expect_err("no such bound").to_string();
        assert!(refusal.contains("like 5 ms") && !refusal.contains('\n'), "{refusal}");
    }
    assert_eq!(sending.term(), 1);
}

#[tokio::test]
async fn i12_controllers_that_take_over_at_the_same_time_get_different_terms() {
    let sending = Sending::begun().await;
    let (one, other, third) =
        tokio::join!(sending.take_over(), sending.take_over(), sending.take_over());
    let mut terms = [one, other, third].map(|term| term.expect("a term"));
    terms.sort_unstable();
    assert_eq!(terms, [2, 3, 4]);
}

#[tokio::test]
async fn i12_an_older_term_that_comes_at_the_same_time_takes_nothing_back() {
    let sending = Sending::begun().await;
    let volume = &sending.volume;
    let (newer, _) = tokio::join!(volume.check_term(5), volume.check_term(3));
    newer.expect("the newest");
    assert_eq!(sending.term(), 5);
    assert!(volume.check_term(3).await.is_err(), "an older controller is obeyed");
}

#[tokio::test]
async fn i9_a_source_that_cannot_record_an_abort_goes_on_mirroring() {
    let sending = Sending::begun().await;
    sending.volume.close_book().await;
    assert!(sending.abort().await.is_err());
    assert_eq!(sending.phase(), PhaseName::Sweeping);
}

#[tokio::test]
async fn an_abort_is_durable_and_may_be_asked_for_again() {
    let sending = Sending::begun().await;
    let (one, other) = tokio::join!(sending.abort(), sending.abort());
    one.and(other).expect("aborted");
    sending.abort().await.expect("nothing to do");
    assert_eq!(sending.phase(), PhaseName::Owner);
    sending.volume.close_book().await;
    let again = open(&sending.folder, None);
    assert_eq!(again.state().part, Part::Owner);
}

#[tokio::test]
async fn nobody_waits_for_a_comparison_after_the_commit() {
    let sending = Sending::begun().await;
    let volume = &sending.volume;
    let migration = volume.state().migration.expect("a migration");
    let outgoing = Outgoing::new(&volume.program, volume.name.as_str(), &migration);
    volume.set_outgoing(Some(Arc::new(outgoing.expect("a way out"))));
    let committed = VolumeRecord::Committed { attempt: 1, generation: 2 };
    volume.record(committed).await.expect("recorded");
    let request = VerifyRequest { migration: MIGRATION.into(), restart: true };
    assert!(volume.verify(&request).is_err(), "it would never be done");
}

#[tokio::test]
async fn a_comparison_that_a_restart_forgot_begins_anew_when_it_is_asked_for() {
    let sending = Sending::begun().await;
    let volume = &sending.volume;
    let migration = volume.state().migration.expect("a migration");
    let outgoing = Outgoing::new(&volume.program, volume.name.as_str(), &migration);
    volume.set_outgoing(Some(Arc::new(outgoing.expect("a way out"))));
    let request = VerifyRequest { migration: MIGRATION.into(), restart: false };
    assert!(!volume.verify(&request).expect("an answer").done);
    let owner = volume.owner().expect("the owner");
    let comparison = owner.with(|source| source.sweep().and_then(|sweep| sweep.comparison()));
    assert!(comparison.is_some(), "nobody compares, and whoever asks waits for ever");
}
