//! What a load promises: an honest volume is never accused, and every sin is found and named.

use std::sync::Arc;
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_checker::{
    ConfigError, Initial, Journal, Load, LoadConfig, Mix, Report, Tearing, VerifyError,
    ViolationKind,
};
use blockferry_device::Device;

use crate::volume::{Sin, Volume};

const SIZE: usize = 1 << 20;

fn config() -> LoadConfig {
    LoadConfig {
        operations: Some(6_000),
        hot_bytes: 64 << 10,
        hot_per_mille: 500,
        request_bytes: (4096, 32768),
        ..LoadConfig::default()
    }
}

async fn run(devices: Vec<Arc<dyn Device>>, config: LoadConfig) -> Report {
    let load = Load::start(devices, config).unwrap();
    load.ended().await;
    load.stop().await
}

/// Four connections, the last of which sins.
async fn sinned(sin: Sin, config: LoadConfig) -> Report {
    let volume = Volume::new(SIZE);
    let sins = [Sin::None, Sin::None, Sin::None, sin];
    run(sins.map(|sin| volume.connect(sin)).to_vec(), config).await
}

async fn is_found(sin: Sin, kind: ViolationKind) {
    for seed in 0..3 {
        let report = sinned(sin, LoadConfig { seed, ..config() }).await;
        assert!(report.violations.has(kind), "{sin:?}, seed {seed}:\n{report}");
        assert!(!report.is_clean());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_volume_is_never_accused() {
    for seed in 0..4 {
        let initial = if seed % 2 == 0 { Initial::Zero } else { Initial::Unknown };
        for (unaligned, fill) in [(false, false), (true, false), (false, true)] {
            let operations = Some(3_000);
            let config = LoadConfig { seed, initial, unaligned, fill, operations, ..config() };
            let report = sinned(Sin::None, LoadConfig { tearing: Tearing::Never, ..config }).await;
            assert!(report.is_clean(), "seed {seed}, unaligned {unaligned}:\n{report}");
            assert!(report.operations.total() >= 3_000);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_whose_size_is_no_multiple_of_a_block_is_checked_to_its_last_byte() {
    let volume = Volume::new(SIZE + 1);
    let load = run(vec![volume.connect(Sin::None)], LoadConfig { fill: true, ..config() }).await;
    assert!(load.is_clean(), "{load}");
    assert_eq!(load.journal.bytes(), SIZE as u64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_write_is_found() {
    is_found(Sin::DropsAWrite, ViolationKind::Lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_value_is_found() {
    for seed in 0..3 {
        let report = sinned(Sin::ReturnsAnOlderValue, LoadConfig { seed, ..config() }).await;
        let kinds = [ViolationKind::Lost, ViolationKind::WentBack];
        assert!(kinds.iter().any(|kind| report.violations.has(*kind)), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_reads_a_lagging_copy_goes_back_in_time() {
    is_found(Sin::ReadsACopyThatLags, ViolationKind::WentBack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_block_is_found() {
    is_found(Sin::TearsABlock, ViolationKind::Torn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misdirected_block_is_found() {
    is_found(Sin::MisdirectsABlock, ViolationKind::Misdirected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found() {
    is_found(Sin::FlipsABit, ViolationKind::Damaged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trim_that_does_nothing_is_found() {
    let mix = Mix { read: 50, write: 25, trim: 25, write_zeroes: 0, flush: 0 };
    let report = sinned(Sin::IgnoresTrim, LoadConfig { mix, ..config() }).await;
    assert!(report.violations.has(ViolationKind::Lost), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_answered_before_it_is_done_is_found() {
    let report = sinned(Sin::AnswersBeforeItWrites, config()).await;
    assert!(!report.violations.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_volumes_that_pose_as_one_are_found() {
    let volumes = [Volume::new(SIZE), Volume::new(SIZE)];
    let devices = volumes.map(|volume| volume.connect(Sin::None)).to_vec();
    let report = run(devices, config()).await;
    assert!(report.violations.has(ViolationKind::Lost), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_must_stay() {
    let volume = Volume::new(SIZE);
    volume.fill(7);
    let mix = Mix { read: 1, write: 0, write_zeroes: 0, trim: 0, flush: 0 };
    let config = LoadConfig { mix, operations: None, ..config() };
    let load = Load::start(vec![volume.connect(Sin::None)], config).unwrap();
    while load.snapshot().operations.reads < 1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(load.snapshot().violations, 0);
    volume.fill(8);
    while load.snapshot().violations == 0 {
        tokio::task::yield_now().await;
    }
    assert!(load.stop().await.violations.has(ViolationKind::Foreign));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_request_fails_the_run_and_accuses_nobody_else() {
    let report = sinned(Sin::Fails, config()).await;
    assert!(report.errors.total > 0 && report.violations.is_empty(), "{report}");
    assert!(report.errors.first[0].contains("the disk is gone"), "{report}");
    assert!(!report.is_clean());
    let report = sinned(Sin::AnswersTooLittle, config()).await;
    assert!(report.errors.total > 0 && report.violations.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_race_with_writes_may_be_torn_unless_that_is_excluded() {
    for unaligned in [false, true] {
        let config = LoadConfig {
            mix: Mix { read: 1, write: 1, write_zeroes: 0, trim: 0, flush: 0 },
            hot_bytes: 16 << 10,
            hot_per_mille: 900,
            unaligned,
            operations: Some(2_000),
            tearing: Tearing::BesideWrites,
            ..config()
        };
        let report = sinned(Sin::WorksInSmallSteps, config.clone()).await;
        assert!(report.is_clean(), "unaligned {unaligned}:\n{report}");
        let strict = LoadConfig { tearing: Tearing::Never, ..config };
        let report = sinned(Sin::WorksInSmallSteps, strict).await;
        assert!(report.violations.has(ViolationKind::Torn), "unaligned {unaligned}:\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_never_answered_is_an_error_and_does_not_hold_the_report_up() {
    struct Silent(Arc<dyn Device>);
    impl Device for Silent {
        fn info(&self) -> &blockferry_device::DeviceInfo {
            self.0.info()
        }
        fn call(&self, _: blockferry_device::Request) -> blockferry_device::Answer {
            blockferry_device::Answer::later(std::future::pending())
        }
    }
    let silent = Arc::new(Silent(Volume::new(SIZE).connect(Sin::None)));
    let request_timeout = Duration::from_millis(50);
    let load = Load::start(vec![silent], LoadConfig { request_timeout, ..config() }).unwrap();
    while load.snapshot().waiting_ms == 0.0 {
        tokio::task::yield_now().await;
    }
    let report = load.stop().await;
    assert!(report.longest_request >= request_timeout, "{report}");
    assert!(report.errors.first[0].contains("no answer in"), "{report}");
    assert_eq!(report.operations.total(), 0);
    assert!(!report.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_proves_the_volume_and_finds_what_was_changed_later() {
    for unaligned in [false, true] {
        let volume = Volume::new(SIZE);
        let connection = volume.connect(Sin::None);
        let devices = vec![Arc::clone(&connection), volume.connect(Sin::None)];
        let report = run(devices, LoadConfig { unaligned, fill: true, ..config() }).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        report.journal.save(&path).unwrap();
        let journal = Journal::load(&path).unwrap();
        assert_eq!(journal.bytes(), SIZE as u64);
        assert!(journal.verify(&*connection).await.unwrap().is_empty());

        let offset = 123_456;
        let data = vec![9; 1].into();
        let request = blockferry_device::Request::Write { offset, data, fua: false };
        connection.call(request).await.unwrap();
        let violations = journal.verify(&*connection).await.unwrap();
        assert_eq!(violations.total, 1);
        let wrong = &violations.first[0];
        assert!(
            Extent::between(wrong.start, wrong.end).contains(Extent::between(offset, offset + 1))
        );
        let other = Volume::new(SIZE + 1).connect(Sin::None);
        assert!(matches!(journal.verify(&*other).await, Err(VerifyError::Size { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_does_not_fit_its_volume_is_refused() {
    let start = |devices, config| Load::start(devices, config).err();
    let device = || Volume::new(SIZE).connect(Sin::None);
    assert_eq!(start(vec![], config()), Some(ConfigError::Connections(0)));
    let other = Volume::new(SIZE * 2).connect(Sin::None);
    let sizes = ConfigError::Sizes(SIZE as u64, 2 * SIZE as u64);
    assert_eq!(start(vec![device(), other], config()), Some(sizes));
    let beyond = LoadConfig { span: Some(Extent::between(1 << 30, 1 << 31)), ..config() };
    assert!(matches!(start(vec![device()], beyond), Some(ConfigError::Span(..))));
}
