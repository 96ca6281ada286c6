//! What every server says of itself at `/openapi.json` is sound, complete and true.

use std::collections::BTreeSet;

use blockferry_control::{ControlClient, ControlError};
use blockferry_tests::cast::{Cluster, VOLUME};
use blockferry_tests::openapi::{Document, Operation};
use blockferry_tests::tree;
use serde_json::{Value, json};

/// Sources of what servers answer.
const SERVERS: [&str; 3] = ["crates/control/src/", "crates/server/src/", "switch-proxy/src/"];

/// Ways to answer something that no document says.
const SILENT_WAYS: [&str; 4] = [".route(", ".route_service(", ".nest_service(", ".fallback"];

/// What scripts read of a volume, and its roles.
const OF_A_VOLUME: [&str; 9] = [
    "name",
    "size",
    "role",
    "generation",
    "reserved_address",
    "read_cursor",
    "dirty_bytes",
    "in_flight_updates",
    "sessions",
];
const ROLES: [&str; 8] =
    ["owner", "migrating", "committing", "forwarding", "receiving", "ready", "standby", "retired"];

struct Server {
    program: &'static str,
    client: ControlClient,
    document: Document,
}

/// The servers of a cluster, each with its document.
async fn servers(cluster: &Cluster) -> Vec<Server> {
    let mut servers = Vec::new();
    for (program, at) in [
        ("target-src", cluster.source.control()),
        ("target-dst", cluster.destination.control()),
        ("switch-proxy", cluster.switch.control()),
    ] {
        let client = ControlClient::new(at, None);
        let document = Document(client.get("/openapi.json").await.expect("a document"));
        servers.push(Server { program, client, document });
    }
    servers
}

/// A volume on its way, so that nothing is empty that could be told.
async fn held_at_ready() -> Cluster {
    let cluster = Cluster::random(2).await;
    cluster.migrate(&["--hold-at-ready"]).await;
    cluster
}

fn filled(path: &str) -> String {
    path.replace("{name}", VOLUME)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_gives_a_sound_open_api_document_under_its_name() {
    let cluster = Cluster::random(1).await;
    for Server { program, document, .. } in servers(&cluster).await {
        let spec = oas3::from_json(document.0.to_string()).expect("an OpenAPI document");
        spec.validate_version().expect("OpenAPI 3.1");
        let read = serde_json::to_value(&spec).expect("the document again");
        assert!(read == document.0, "{program}: not all of it was understood, only {read}");
        assert_eq!(document.defects(), [""; 0], "{program}");
        let info = &document.0["info"];
        let expected = [program, env!("CARGO_PKG_VERSION"), "MIT OR Apache-2.0"];
        let told = [&info["title"], &info["version"], &info["license"]["identifier"]];
        assert_eq!(told, expected.map(Value::from).each_ref());
        assert_eq!(document.0["security"], json!([{}, {"token": []}]));
        assert_eq!(document.0["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_name_what_scripts_rely_on() {
    let cluster = Cluster::random(1).await;
    for Server { program, document, .. } in servers(&cluster).await {
        let own: &[_] = match program {
            "switch-proxy" => &["/v1/routes"],
            _ => &["/v1/volumes", "/v1/volumes/{name}"],
        };
        for path in ["/healthz", "/metrics", "/openapi.json", "/v1/status"].iter().chain(own) {
            assert!(document.0["paths"][path]["get"].is_object(), "{program}: {path}");
        }
        let (schema, properties): (_, &[_]) = match program {
            "switch-proxy" => ("RouteStatus", &["name", "upstream", "generation", "sessions"]),
            _ => ("VolumeStatus", &OF_A_VOLUME),
        };
        let required = document.schema(schema)["required"].as_array().expect("a list");
        let missing: Vec<_> =
            properties.iter().filter(|name| !required.contains(&json!(name))).collect();
        assert!(missing.is_empty(), "{program}: {schema} does not promise {missing:?}");
        if program != "switch-proxy" {
            assert_eq!(document.schema("VolumeRole")["enum"], json!(ROLES));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_document_names_is_answered_and_what_only_another_names_is_not() {
    let cluster = held_at_ready().await;
    let servers = servers(&cluster).await;
    let paths: BTreeSet<_> =
        servers.iter().flat_map(|server| server.document.operations()).map(|o| o.path).collect();
    for Server { program, client, document } in &servers {
        for path in &paths {
            for method in ["get", "post"] {
                let named = !document.0["paths"][path][method].is_null();
                let answered = is_answered(client, method, &filled(path)).await;
                assert_eq!(named, answered, "left: {program}'s document has {method} {path}");
            }
        }
    }
}

/// Whether there is a handler. Bodies are empty messages: none of them does anything.
async fn is_answered(client: &ControlClient, method: &str, path: &str) -> bool {
    let answer: Result<Value, _> = match method {
        "get" => client.get(path).await,
        _ => client.post(path, &json!({})).await,
    };
    match answer {
        // Not JSON, but an answer.
        Ok(_) | Err(ControlError::Protocol { .. }) => true,
        Err(error) => {
            let status = error.status().expect("the server answers").as_u16();
            !matches!(status, 404 | 405)
        }
    }
}

#[test]
fn nothing_is_served_past_the_list_that_the_document_is_made_of() -> anyhow::Result<()> {
    let files = tree::rust_files()?;
    let files = files.iter().filter(|file| SERVERS.iter().any(|dir| file.path.starts_with(dir)));
    let mut lists = 0;
    for file in files {
        for (number, line) in file.lines() {
            let silent = SILENT_WAYS.iter().find(|way| line.contains(**way));
            assert!(silent.is_none(), "{}:{number}: {line}", file.path);
            lists += line.matches("routes!(").count();
        }
    }
    assert!(lists > 20, "only {lists} routes were found in {SERVERS:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_properties_that_its_document_names_and_no_others() {
    let cluster = held_at_ready().await;
    let source = cluster.source.status(VOLUME).await.expect("an answer");
    assert!(source.migration.expect("a migration").digest.is_some());
    assert!(cluster.switch.route(VOLUME).await.expect("a route").candidate.is_some());
    let read = answers_are_as_told(&cluster).await;
    let expected = ["/v1/routes", "/v1/routes/{name}", "/v1/status", "/v1/volumes"];
    let missing: Vec<_> = expected.iter().filter(|path| !read.contains(**path)).collect();
    assert!(missing.is_empty(), "{missing:?} were not read, only {read:?}");
    cluster.controller("commit", &[]).done().await;
    cluster.until_moved().await;
    answers_are_as_told(&cluster).await;
}

/// Reads all that can be read as JSON, compares it with the documents, and gives the paths.
async fn answers_are_as_told(cluster: &Cluster) -> BTreeSet<String> {
    let mut read = BTreeSet::new();
    for Server { program, client, document } in servers(cluster).await {
        for operation in document.operations().filter(is_read) {
            let Some(schema) = operation.answer("200") else { continue };
            let answer: Value = client.get(&filled(operation.path)).await.expect("an answer");
            let differences = document.differences(schema, &answer);
            assert!(differences.is_empty(), "{program}: {}: {differences:#?}", operation.path);
            read.insert(operation.path.to_owned());
        }
    }
    read
}

/// Whether everybody may ask for it without knowing more than a name.
fn is_read(operation: &Operation<'_>) -> bool {
    operation.method == "get" && operation.required("query").is_empty()
}
