//! The load on a server of someone else's making.

use super::*;
use crate::image;
use crate::peers::Peer;

const SIZE: u64 = 8 << 20;

fn served(test: impl FnOnce(SocketAddr, &std::path::Path)) {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("volume");
    image::empty(&image, SIZE).unwrap();
    let log = folder.path().join("log");
    let (_server, at) = Peer::NbdkitFile.serve(&image, &log).unwrap();
    test(at, &image);
}

fn run(load: &Load) -> Outcome {
    load.run(&AtomicBool::new(false)).unwrap()
}

#[test]
fn every_request_that_was_asked_for_is_answered_whatever_the_pattern() {
    served(|at, _| {
        for pattern in [
            Pattern::RandomRead,
            Pattern::RandomWrite,
            Pattern::RandomMixed,
            Pattern::Read,
            Pattern::Write,
        ] {
            for (block, depth, connections) in [(4096, 1, 1), (4096, 32, 3), (256 << 10, 8, 1)] {
                let load = Load::new(at, "", pattern, block);
                let end = End::Requests(100);
                let outcome = run(&Load { depth, connections, end, log: true, ..load });
                let case = format!("{pattern:?}, {block} bytes, {depth}, {connections}");
                assert_eq!((outcome.total(), outcome.log.len()), (100, 100), "{case}");
                assert_eq!(outcome.times.len(), 100, "{case}");
            }
        }
    });
}

#[test]
fn sequential_writes_reach_the_whole_volume() {
    served(|at, image| {
        let load = Load::new(at, "", Pattern::Write, 64 << 10);
        run(&Load { depth: 4, end: End::Requests(SIZE / (64 << 10)), ..load });
        let content = std::fs::read(image).unwrap();
        assert!(content.chunks(64 << 10).all(|block| block.iter().any(|byte| *byte != 0)));
    });
}

#[test]
fn a_rate_is_kept_and_shared_by_the_connections() {
    served(|at, _| {
        let load = Load::new(at, "", Pattern::RandomRead, 4096);
        let end = End::After(Duration::from_millis(500));
        let outcome = run(&Load { connections: 4, rate: Some(400.0), end, ..load });
        assert!((100..=200).contains(&outcome.total()), "{:?}", outcome.requests);
        assert!(outcome.requests.iter().all(|count| *count > 0), "{:?}", outcome.requests);
    });
}

#[test]
fn a_load_ends_when_it_is_told_to() {
    served(|at, _| {
        let stop = AtomicBool::new(false);
        let load = Load::new(at, "", Pattern::RandomMixed, 4096);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| load.run(&stop));
            stop.store(true, Ordering::Relaxed);
            running.join().unwrap().unwrap();
        });
    });
}

#[test]
fn a_volume_that_is_smaller_than_a_request_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("volume");
    image::empty(&image, 1 << 10).unwrap();
    let (_server, at) = Peer::NbdkitFile.serve(&image, &folder.path().join("log")).unwrap();
    let load = Load::new(at, "", Pattern::Read, 4096);
    let error = load.run(&AtomicBool::new(false)).unwrap_err().to_string();
    assert!(error.contains("smaller than a request"), "{error}");
}
