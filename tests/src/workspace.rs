//! The packages of the workspace and what they depend on, as `cargo metadata` tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::tree;

/// The resolved graph of packages.
#[derive(Debug)]
pub struct Workspace {
    /// Name of every workspace package, with its folder from the root.
    pub members: BTreeMap<String, String>,
    names: BTreeMap<String, String>,
    edges: BTreeMap<String, Vec<Edge>>,
}

#[derive(Debug)]
struct Edge {
    to: String,
    normal: bool,
    dev: bool,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// When cargo fails, or answers what this does not understand.
    pub fn load() -> Result<Self> {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(tree::root())
            .output()
            .context("cannot run cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata =
            serde_json::from_slice(&output.stdout).context("cargo metadata is not as expected")?;
        Ok(Self::from_metadata(metadata))
    }

    fn from_metadata(metadata: Metadata) -> Self {
        let names: BTreeMap<_, _> = metadata
            .packages
            .iter()
            .map(|package| (package.id.clone(), package.name.clone()))
            .collect();
        let members = metadata
            .packages
            .iter()
            .filter(|package| metadata.workspace_members.contains(&package.id))
            .map(|package| {
                (package.name.clone(), folder(&package.manifest_path, &metadata.workspace_root))
            })
            .collect();
        let edges =
            metadata.resolve.nodes.into_iter().map(|node| (node.id, edges(node.deps))).collect();
        Self { members, names, edges }
    }

    /// Names of the packages that `package` links in an ordinary build, through any number of others.
    pub fn links(&self, package: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&str> = self.ids(package).collect();
        while let Some(id) = waiting.pop() {
            for edge in self.edges.get(id).into_iter().flatten().filter(|edge| edge.normal) {
                if reached.insert(edge.to.as_str()) {
                    waiting.push(&edge.to);
                }
            }
        }
        reached.into_iter().map(|id| self.names[id].clone()).collect()
    }

    /// Names of the packages that `package` itself names, in an ordinary build.
    pub fn names(&self, package: &str) -> BTreeSet<String> {
        self.named(package, |edge| edge.normal)
    }

    /// Names of the packages that only the tests of `package` name.
    pub fn names_in_tests(&self, package: &str) -> BTreeSet<String> {
        self.named(package, |edge| edge.dev && !edge.normal)
    }

    fn named(&self, package: &str, wanted: impl Fn(&Edge) -> bool) -> BTreeSet<String> {
        let edges = self.ids(package).flat_map(|id| &self.edges[id]);
        edges.filter(|edge| wanted(edge)).map(|edge| self.names[&edge.to].clone()).collect()
    }

    fn ids<'a>(&'a self, package: &'a str) -> impl Iterator<Item = &'a str> {
        let is_member = self.members.contains_key(package);
        assert!(is_member, "{package} is no package of the workspace");
        self.names.iter().filter(move |(_, name)| *name == package).map(|(id, _)| id.as_str())
    }
}

fn folder(manifest: &str, root: &str) -> String {
    let inside = manifest.strip_prefix(root).unwrap_or(manifest);
    inside.trim_start_matches('/').trim_end_matches("/Cargo.toml").to_owned()
}

fn edges(dependencies: Vec<Dependency>) -> Vec<Edge> {
    let edge = |dependency: Dependency| Edge {
        to: dependency.pkg,
        normal: dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()),
        dev: dependency.dep_kinds.iter().any(|kind| kind.kind.as_deref() == Some("dev")),
    };
    dependencies.into_iter().map(edge).collect()
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    workspace_root: String,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}
