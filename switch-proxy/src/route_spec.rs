//! Routes as the settings have them: `NAME=nbd://HOST:PORT/EXPORT`, and where the same volume is served
//! over iSCSI, if anybody needs that before its owner says so: `NAME=iscsi://HOST[:PORT]`.

use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use blockferry_block::VolumeName;
use blockferry_iscsi::PortalAddress;
use blockferry_nbd_session::NbdUri;

const EXPECTED: &str = "NAME=nbd://HOST:PORT/EXPORT or NAME=iscsi://HOST[:PORT]";

/// An export that clients see, and where its volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// The name for clients.
    pub name: VolumeName,
    /// The volume.
    pub upstream: NbdUri,
    /// Where it is served over iSCSI, too.
    pub iscsi: Option<PortalAddress>,
}

/// One setting.
enum Part {
    Nbd(NbdUri),
    Iscsi(PortalAddress),
}

impl RouteSpec {
    /// All routes of the settings.
    ///
    /// # Errors
    /// Which of them makes no sense, and what was expected.
    pub(crate) fn all(texts: &[String]) -> Result<Vec<Self>> {
        let parts: Vec<_> = texts.iter().map(|text| part(text)).collect::<Result<_>>()?;
        let mut routes: Vec<Self> = Vec::new();
        for (name, part) in &parts {
            let Part::Nbd(upstream) = part else { continue };
            ensure!(!routes.iter().any(|route| route.name == *name), twice(name));
            routes.push(Self { name: name.clone(), upstream: upstream.clone(), iscsi: None });
        }
        for (name, part) in parts {
            let Part::Iscsi(portal) = part else { continue };
            let Some(route) = routes.iter_mut().find(|route| route.name == name) else {
                bail!("route {:?}: it needs {name}=nbd://HOST:PORT/EXPORT, too", name.as_str());
            };
            ensure!(route.upstream.export == name.as_str(), same_name(route));
            ensure!(route.iscsi.replace(portal).is_none(), twice(&name));
        }
        Ok(routes)
    }
}

fn twice(name: &VolumeName) -> String {
    format!("route {:?} is given twice", name.as_str())
}

/// The owner is asked for the target that the initiator has named.
fn same_name(route: &RouteSpec) -> String {
    let (name, export) = (route.name.as_str(), &route.upstream.export);
    format!("route {name:?} leads to export {export:?}: over iSCSI both have to have the same name")
}

fn part(text: &str) -> Result<(VolumeName, Part)> {
    let (name, uri) = text.split_once('=').with_context(|| expected(text))?;
    let name = name.parse().with_context(|| format!("route {text:?}"))?;
    let part = match uri.strip_prefix("iscsi://") {
        Some(portal) => Part::Iscsi(portal.parse().with_context(|| expected(text))?),
        None => Part::Nbd(uri.parse().with_context(|| format!("route {text:?}"))?),
    };
    Ok((name, part))
}

fn expected(text: &str) -> String {
    format!("route {text:?}: expected {EXPECTED}")
}

impl FromStr for RouteSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut routes = Self::all(&[text.to_owned()])?;
        routes.pop().with_context(|| expected(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Result<Vec<RouteSpec>> {
        RouteSpec::all(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_volume_may_be_served_over_both_protocols() {
        let routes = all(&["v=iscsi://h:3261", "v=nbd://h/v", "w=nbd://h/x"]).unwrap();
        assert_eq!(routes[0].iscsi, Some("h:3261".parse().unwrap()));
        assert_eq!(routes[1], "w=nbd://h/x".parse().unwrap());
    }

    #[test]
    fn routes_that_make_no_sense_are_refused_with_what_was_expected() {
        for (texts, word) in [
            (&["vol"][..], "NAME=nbd://"),
            (&["a/b=nbd://h/v"], "letters"),
            (&["v=nbd://h/a", "v=nbd://h/b"], "twice"),
            (&["v=nbd://h/v", "v=iscsi://h", "v=iscsi://g"], "twice"),
            (&["v=iscsi://h"], "too"),
            (&["v=nbd://h/v", "v=iscsi://h/target"], "iscsi://HOST[:PORT]"),
            (&["v=nbd://h/x", "v=iscsi://h"], "same name"),
        ] {
            let error = format!("{:#}", all(texts).unwrap_err());
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
    }
}
