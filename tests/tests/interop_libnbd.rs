//! The tools of libnbd see one and the same volume through the switch before, during and after a
//! migration, over old connections and new ones.

use std::process::Command;

use blockferry_block::MIB;
use blockferry_nbd_session::NbdUri;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, Phase, Process, VOLUME, compare, fill_random, run_tool, sparse,
};
use serde_json::Value;

/// Runs a tool that has to end well; gives what it printed.
async fn tool(program: &str, arguments: &[&str]) -> String {
    let script = run_tool(Command::new(program).args(arguments)).await;
    assert!(script.success, "{program} {arguments:?} failed: {}\n{}", script.out, script.err);
    script.out
}

/// What `nbdinfo --json` says of an export, without where it is.
async fn info(uri: &NbdUri) -> Value {
    let told = tool("nbdinfo", &["--json", &uri.to_string()]).await;
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{told}: {error}"));
    let mut export = told["exports"][0].clone();
    assert_eq!(told["structured"], true, "{told}");
    export.as_object_mut().expect("an export").retain(|field, _| field != "uri");
    export
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdinfo_tells_the_same_size_flags_contexts_and_map_in_every_phase() {
    let cluster = with_holes().await;
    let uri = cluster.uri().to_string();
    let before = info(&cluster.source.uri(VOLUME)).await;
    assert_eq!(before["export-size"], 8 * MIB, "{before}");
    for flag in ["is_read_only", "is_rotational"] {
        assert_eq!(before[flag], false, "{flag}: {before}");
    }
    for flag in ["can_multi_conn", "can_flush", "can_fua", "can_trim", "can_zero", "can_df"] {
        assert_eq!(before[flag], true, "{flag}: {before}");
    }
    assert_eq!(before["contexts"], serde_json::json!(["base:allocation"]), "{before}");
    let map = tool("nbdinfo", &["--map", &uri]).await;
    assert_eq!(map.lines().count(), 3, "a hole, data, a hole: {map}");
    let direct = cluster.destination.uri(VOLUME).to_string();
    for phase in Phase::ALL {
        cluster.enter(phase).await;
        let told = run_tool(Command::new("nbdinfo").arg(&direct)).await;
        assert_eq!(told.success, phase == Phase::After, "{phase:?}, at the destination: {told:?}");
        assert_eq!(info(&cluster.uri()).await, before, "{phase:?}");
        assert_eq!(tool("nbdinfo", &["--map", &uri]).await, map, "{phase:?}");
        assert_eq!(tool("nbdinfo", &["--size", &uri]).await, (8 * MIB).to_string(), "{phase:?}");
        let server = NbdUri { export: String::new(), ..cluster.uri() };
        let list = tool("nbdinfo", &["--list", "--json", &server.to_string()]).await;
        let list: Value = serde_json::from_str(&list).expect("JSON");
        assert_eq!(list["exports"][0]["export-name"], VOLUME, "{phase:?}: {list}");
    }
    assert_eq!(info(&cluster.destination.uri(VOLUME)).await, before, "the destination itself");
}

/// A volume of 8 MiB with 2 MiB of data in it.
async fn with_holes() -> Cluster {
    let spec = ClusterSpec::new();
    sparse(&spec.file(), 8 * MIB, [(2 * MIB, 2 << 20)]);
    spec.with_file().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdcopy_fills_the_volume_while_it_moves_and_reads_the_same_before_and_after() {
    let cluster = Cluster::random(48).await;
    let uri = cluster.uri().to_string();
    let [new, back] = ["new", "back"].map(|name| cluster.scratch.join(name));
    fill_random(&new, 48 * MIB);
    let [new_path, back_path] = [&new, &back].map(|path| path.to_str().expect("a plain path"));
    tool("nbdcopy", &["--connections=4", &uri, back_path]).await;
    compare(&cluster.file(), &back).expect("what was read before the migration");

    let arguments = ["--chunk", "1M", "--bandwidth", "16M", "--hold-at-ready"];
    let migration = cluster.controller("migrate", &arguments);
    cluster.until_copied(8 * MIB).await;
    tool("nbdcopy", &["--connections=4", "--flush", new_path, &uri]).await;
    tool("nbdcopy", &["--connections=4", &uri, back_path]).await;
    compare(&new, &back).expect("what was read behind the write");
    migration.done().await;

    let mut commit = cluster.controller("commit", &[]);
    while commit.process.ended().is_none() {
        tool("nbdcopy", &["--connections=4", &uri, back_path]).await;
        compare(&new, &back).expect("what was read across the cutover");
    }
    commit.done().await;
    cluster.until_moved().await;
    compare(&new, &cluster.copy()).expect("what the destination holds");
    tool("nbdcopy", &["--connections=4", &uri, back_path]).await;
    compare(&new, &back).expect("what was read after the migration");
}

/// For every line of its standard input, one line with everything that four connections were
/// answered: two made at the start and two made now, with structured and with simple replies.
const ANSWERS: &str = r#"
import json, os, sys
STRUCTURED = [True, False]
def join(structured):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    h.set_strict_mode(0)
    if structured:
        h.add_meta_context("base:allocation")
    h.connect_uri(os.environ["URI"])
    assert h.get_structured_replies_negotiated() == structured
    return h
def code(call, *args):
    try:
        call(*args)
        return 0
    except nbd.Error as e:
        return e.errno
def digest(data):
    return data.hex() if len(data) < 32 else [len(data), sum(data), sum(data[::7])]
def status(h):
    entries = []
    if not h.get_structured_replies_negotiated():
        return None
    offset = 0
    while offset < 4 << 20:
        h.block_status((4 << 20) - offset, offset, lambda m, o, e, r: entries.extend(e))
        offset = sum(entries[::2])
    merged = []
    for length, kind in zip(entries[::2], entries[1::2]):
        if merged and merged[-1][1] == kind:
            merged[-1][0] += length
        else:
            merged.append([length, kind])
    return merged
def answers(h):
    size = h.get_size()
    told = [size, h.is_read_only(), h.can_multi_conn(), h.can_fua(), h.can_trim(), h.can_zero()]
    told.append(code(h.zero, 4 << 20, 0))
    h.pwrite(b"\xa5" * 100000, 1000000)
    h.pwrite(b"\x5a" * 65536, 2 << 20, nbd.CMD_FLAG_FUA)
    told.append(digest(h.pread(8, 999996)))
    told.append(digest(h.pread(100004, 999998)))
    h.flush()
    h.trim(65536, 1 << 20)
    told.append(digest(h.pread(300000, 900000)))
    h.zero(32768, 2 << 20, nbd.CMD_FLAG_NO_HOLE)
    told.append(digest(h.pread(65536, 2 << 20)))
    told.append(code(h.zero, 32768, (2 << 20) + 32768, nbd.CMD_FLAG_FAST_ZERO))
    h.pwrite(b"end", size - 3)
    told.append(digest(h.pread(6, size - 6)[3:]))
    told.append(code(h.cache, 65536, 0))
    told.append([code(h.pread, 512, size), code(h.pwrite, b"x" * 512, size), code(h.trim, 1, size)])
    return told, status(h)
old = [join(structured) for structured in STRUCTURED]
print("joined", flush=True)
for line in sys.stdin:
    new = [join(structured) for structured in STRUCTURED]
    told = [answers(h) for h in old + new]
    print("answers", json.dumps(told), flush=True)
    for h in new:
        h.shutdown()
for h in old:
    h.shutdown()
"#;

fn answers(line: &str) -> [Value; 4] {
    let told = line.strip_prefix("answers ").expect("a line of answers");
    serde_json::from_str(told).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdsh_is_told_the_same_in_every_phase_over_old_and_new_connections() {
    let cluster = Cluster::random(8).await;
    let mut command = Command::new("nbdsh");
    // The module belongs to the system's own Python.
    command.env("PATH", "/usr/bin:/bin").env("URI", cluster.uri().to_string());
    let mut shell = Process::start_listening("nbdsh", command.args(["-n", "-c", ANSWERS]));
    shell.said("joined", 1).await;
    let mut first = None;
    for (turn, phase) in (1..).zip(Phase::ALL) {
        cluster.enter(phase).await;
        shell.say("go");
        let lines = shell.said("answers", turn).await;
        let [old, old_simple, new, new_simple] = answers(&lines[turn - 1]);
        assert_eq!(old, new, "{phase:?}: an old connection and a new one");
        assert_eq!(old_simple, new_simple, "{phase:?}: an old simple one and a new one");
        assert_eq!(old[0], old_simple[0], "{phase:?}: structured and simple replies");
        let first = first.get_or_insert_with(|| old.clone());
        assert_eq!(*first, old, "{phase:?}: not as before the migration");
    }
    assert!(shell.end_within(std::time::Duration::from_secs(30)).await.success());
}
