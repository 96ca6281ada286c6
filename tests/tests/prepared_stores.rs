//! A volume moves into a store that exists already: a file, a block device, a server of another make.

use std::path::Path;
use std::process::Command;

use blockferry_block::MIB;
use blockferry_control::api::VolumeRole;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, LoopDevice, NbdKit, QemuNbd, Storage, StorageSpec, VOLUME, busy, compare,
    fill_random, run_tool,
};

const MIB_COUNT: u64 = 16;

fn plain(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The line that the controller ends with when the migration is refused.
async fn refusal(cluster: &Cluster, more: &[&str]) -> String {
    let refused = cluster.controller("migrate", more).end().await;
    assert_eq!((refused.code, refused.err.len()), (Some(1), 1), "{refused:?}");
    refused.err[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_full_of_something_else_is_overwritten_holes_included() {
    let spec = ClusterSpec::new().with_holes(MIB_COUNT);
    let garbage = spec.garbage();
    let cluster = spec.received_in(&garbage).start().await;
    cluster.moves_into(async || garbage.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_size_is_refused_untouched_and_taken_once_it_is_resized() {
    let spec = ClusterSpec::new().with_holes(MIB_COUNT);
    let garbage = spec.garbage();
    let cluster = spec.received_in(&garbage).start().await;
    let wanted = MIB_COUNT * MIB + 512;
    for found in [wanted - 1, wanted + 4096] {
        fill_random(&garbage, found);
        let before = std::fs::read(&garbage).expect("a file");
        for more in [&["--dry-run"][..], &[]] {
            let line = refusal(&cluster, more).await;
            for said in [wanted.to_string(), found.to_string(), format!("--size={wanted}")] {
                assert!(line.contains(&said), "{said} is not in: {line}");
            }
        }
        assert!(std::fs::read(&garbage).expect("a file") == before, "a refusal wrote");
    }
    fill_random(&garbage, wanted);
    let planned = cluster.controller("migrate", &["--dry-run"]).done().await.last();
    let first = planned["steps"][0].as_str().unwrap_or_default();
    assert!(first.contains("overwrite") && first.contains(plain(&garbage)), "{planned}");
    cluster.migrate(&[]).await;
    cluster.until_moved().await;
    compare(&cluster.file(), &garbage).expect("the same on both sides");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_device_receives_a_volume_of_exactly_its_size() {
    let spec = ClusterSpec::new().with_holes(MIB_COUNT);
    let garbage = spec.garbage();
    let Some(device) = LoopDevice::over(&garbage) else { return };
    let cluster = spec.received_in(device.path()).start().await;
    cluster.moves_into(async || device.path().to_owned()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_device_of_another_size_is_refused_with_advice() {
    let spec = ClusterSpec::new().with_holes(MIB_COUNT);
    let garbage = spec.scratch.join("larger");
    fill_random(&garbage, 2 * MIB_COUNT * MIB);
    let Some(device) = LoopDevice::over(&garbage) else { return };
    let cluster = spec.received_in(device.path()).start().await;
    let line = refusal(&cluster, &[]).await;
    assert!(line.contains("logical volume of exactly 16777728 bytes"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdkit_with_a_file_receives_a_volume() {
    let spec = ClusterSpec::new().with_holes(MIB_COUNT);
    let garbage = spec.garbage();
    let arguments = ["file", plain(&garbage)];
    let server = NbdKit::start(spec.scratch.join("nbdkit"), &arguments).await;
    let cluster = spec.received_in(server.uri().to_string()).start().await;
    cluster.moves_into(async || garbage.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdkit_with_memory_receives_a_volume() {
    let spec = ClusterSpec::new().with_holes(MIB_COUNT);
    let size = (MIB_COUNT * MIB + 512).to_string();
    let server = NbdKit::start(spec.scratch.join("nbdkit"), &["memory", &size]).await;
    let cluster = spec.received_in(server.uri().to_string()).start().await;
    cluster.moves_into(async || cluster.content_of(&server.uri()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_nbd_with_a_raw_file_receives_a_volume() {
    let spec = ClusterSpec::new().with_holes(MIB_COUNT);
    let garbage = spec.garbage();
    let server = QemuNbd::start(spec.scratch.join("qemu-nbd"), &garbage).await;
    let cluster = spec.received_in(server.uri().to_string()).start().await;
    cluster.moves_into(async || garbage.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_nbd_with_a_qcow2_image_receives_a_volume() {
    let spec = ClusterSpec::new().with_holes(MIB_COUNT);
    let (garbage, image) = (spec.garbage(), spec.scratch.join("qcow2"));
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", "raw", "-O", "qcow2", plain(&garbage), plain(&image)]);
    assert!(run_tool(&mut convert).await.success, "no image");
    let socket = spec.scratch.join("qemu-nbd");
    let server = QemuNbd::start_format(socket, &image, "qcow2").await;
    let cluster = spec.received_in(server.uri().to_string()).start().await;
    cluster.moves_into(async || cluster.content_of(&server.uri()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_could_not_keep_what_clients_were_promised_is_refused_with_all_reasons() {
    let spec = ClusterSpec::new().with_holes(MIB_COUNT);
    let arguments = ["--filter=nozero", "memory", "1M", "zeromode=none"];
    let server = NbdKit::start(spec.scratch.join("nbdkit"), &arguments).await;
    let mut cluster = spec.received_in(server.uri().to_string()).start().await;
    let line = refusal(&cluster, &[]).await;
    for said in ["offers trim", "16777728 bytes", "1048576", "truncate=16777728"] {
        assert!(line.contains(said), "{said} is not in: {line}");
    }
    for emulated in ["write_zeroes", "fast_zero", "fua", "cache"] {
        assert!(!line.contains(emulated), "{emulated} can be had by other means: {line}");
    }
    drop(server);
    let line = refusal(&cluster, &[]).await;
    assert!(line.contains("cannot connect"), "{line}");

    let socket = cluster.scratch.join("read-only");
    let read_only = NbdKit::start(socket, &["--readonly", "memory", "16777728"]).await;
    cluster.destination.kill9();
    let spec = StorageSpec::new("target-dst", &cluster.scratch.join("c"));
    let spec = spec.receive(VOLUME, read_only.uri().to_string());
    cluster.destination = Storage::start(spec).await;
    let line = refusal(&cluster, &[]).await;
    assert!(line.contains("read-only"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_received_volume_is_served_after_a_restart_as_long_as_it_is_named() {
    let spec = ClusterSpec::new().with_holes(MIB_COUNT);
    let garbage = spec.garbage();
    let mut cluster = spec.received_in(&garbage).start().await;
    let load = busy(&cluster.uri(), 200).await;
    cluster.migrate(&[]).await;
    cluster.until_moved().await;
    let flags = cluster.destination.spec.more.clone();

    cluster.destination.kill9();
    cluster.destination.restart().await;
    cluster.destination.until_role(VOLUME, VolumeRole::Owner).await;

    cluster.destination.kill9();
    cluster.destination.spec.more.clear();
    cluster.destination.restart().await;
    cluster.destination.process.logged("not served: name it with --volume").await;
    assert!(cluster.destination.status(VOLUME).await.is_none());

    cluster.destination.kill9();
    let spec = cluster.destination.spec.clone();
    cluster.destination.spec = spec.volume(VOLUME, &garbage);
    cluster.destination.restart().await;
    let status = cluster.destination.until_role(VOLUME, VolumeRole::Owner).await;
    assert_eq!(status.generation, 2);

    cluster.destination.kill9();
    cluster.destination.spec.volumes.clear();
    cluster.destination.spec.more = flags;
    cluster.destination.restart().await;
    cluster.ends_well(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_goes_back_into_the_store_that_it_came_from() {
    let spec = ClusterSpec::new().with_holes(MIB_COUNT);
    let mut cluster = spec.start().await;
    cluster.migrate(&[]).await;
    cluster.until_moved().await;
    let load = busy(&cluster.uri(), 200).await;
    cluster.controller("retire", &[]).done().await;
    cluster.source.until_role(VOLUME, VolumeRole::Retired).await;
    cluster.source.kill9();
    cluster.source.spec.volumes.clear();
    let spec = cluster.source.spec.clone();
    cluster.source.spec = spec.receive(VOLUME, cluster.file());
    cluster.source.restart().await;
    let switch = cluster.switch.control().to_string();
    let there_and_back = (&cluster.destination, &cluster.source);
    let back = cluster.between(there_and_back, "migrate", &["--switch", &switch]).done().await;
    assert_eq!(back.last()["generation"], 3, "{back:?}");
    std::mem::swap(&mut cluster.source, &mut cluster.destination);
    cluster.ends_well(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_given_twice_and_a_store_that_cannot_be_had_are_told_at_the_start() {
    let spec = ClusterSpec::new().with_holes(1);
    let garbage = spec.garbage();
    let plain = StorageSpec::new("target-dst", &spec.scratch.join("c"));
    let twice = plain.clone().receive(VOLUME, &garbage).receive(VOLUME, "mem:1M");
    let both = plain.clone().receive(VOLUME, &garbage).volume(VOLUME, "mem:1M");
    for spec in [&twice, &both, &plain.clone().with("--receive").with(VOLUME)] {
        let (code, line) = spec.refused().await;
        assert_eq!(code, Some(2), "{line}");
        assert!(line.contains("--receive vol"), "{line}");
    }
    let absent = plain.clone().receive(VOLUME, "/nowhere/volume");
    let used = plain.clone().receive(VOLUME, &garbage).receive("other", &garbage);
    for (spec, said) in [(&absent, "/nowhere/volume"), (&used, "in use")] {
        let (code, line) = spec.refused().await;
        assert_eq!(code, Some(1), "{line}");
        assert!(line.contains(said) && line.contains("--receive"), "{line}");
    }

    let settings = spec.scratch.join("settings.toml");
    std::fs::write(&settings, format!("receive = [\"{VOLUME}={}\"]", garbage.display()))
        .expect("a file");
    let configured = plain.with("--config").with(settings.display().to_string());
    let mut destination = Storage::start(configured.clone()).await;
    destination.process.logged("prepared: a migration of the volume will overwrite it").await;
    let second = StorageSpec::new("target-dst", &spec.scratch.join("d"));
    let (code, line) = second.receive(VOLUME, &garbage).refused().await;
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("in use"), "a prepared file is locked: {line}");
}
