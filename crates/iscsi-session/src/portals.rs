//! Where initiators reach this program: what they are told who look for targets, or are sent here.

use blockferry_iscsi::{BadAddress, PortalAddress};
use blockferry_net::Address;

/// A flag that names no portal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {name:?}: {source}")]
pub struct BadPortal {
    flag: &'static str,
    name: String,
    #[source]
    source: BadAddress,
}

/// The names by which others reach a program that listens for initiators.
#[derive(Clone, Copy, Debug, Default)]
pub struct Advertised<'a> {
    /// `--iscsi-advertise`: HOST or HOST:PORT.
    pub portal: Option<&'a str>,
    /// `--advertise`, where initiators have no name of their own for it.
    pub host: Option<&'a str>,
}

impl Advertised<'_> {
    /// The portal that the flags name.
    ///
    /// # Errors
    /// When it cannot be one.
    pub fn portal(self, bound: &Address) -> Result<Option<PortalAddress>, BadPortal> {
        let Address::Tcp(_, port) = bound else { return Ok(None) };
        let named = match (self.portal, self.host) {
            (Some(portal), _) => {
                let host_alone = PortalAddress::new(portal, *port);
                let named = host_alone.or_else(|_| portal.parse());
                Some(named.map_err(bad("--iscsi-advertise", portal))?)
            }
            (None, Some(host)) => {
                Some(PortalAddress::new(host, *port).map_err(bad("--advertise", host))?)
            }
            (None, None) => None,
        };
        Ok(named)
    }

    /// Where initiators are sent that have to come here; nowhere if that is not known.
    ///
    /// # Errors
    /// When the flags name what cannot be a portal.
    pub fn destination(self, bound: &Address) -> Result<Option<PortalAddress>, BadPortal> {
        Ok(match (self.portal(bound)?, bound) {
            (None, Address::Tcp(host, port)) if !is_any(host) => {
                Some(PortalAddress::new(host, *port).map_err(bad("--iscsi", host))?)
            }
            (named, _) => named,
        })
    }
}

fn bad(flag: &'static str, name: &str) -> impl FnOnce(BadAddress) -> BadPortal {
    let name = name.to_owned();
    move |source| BadPortal { flag, name, source }
}

/// Whether it stands for every address of this machine, and for none elsewhere.
fn is_any(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_to(bound: &str, portal: Option<&str>, host: Option<&str>) -> Option<String> {
        let bound = bound.parse().unwrap();
        let destination = Advertised { portal, host }.destination(&bound).unwrap();
        destination.map(|portal| portal.to_string())
    }

    #[test]
    fn initiators_are_sent_to_the_most_particular_name() {
        let at = |portal, host| sent_to("192.0.2.1:3260", portal, host).unwrap();
        assert_eq!(at(None, None), "192.0.2.1:3260");
        assert_eq!(at(None, Some("storage")), "storage:3260");
        assert_eq!(at(Some("disks"), Some("storage")), "disks:3260");
        assert_eq!(at(Some("disks:3261"), Some("storage")), "disks:3261");
        assert_eq!(at(Some("2001:db8::1"), None), "[2001:db8::1]:3260");
        assert_eq!(at(Some("[2001:db8::1]:3261"), None), "[2001:db8::1]:3261");
    }

    #[test]
    fn nobody_is_sent_to_an_address_that_stands_for_any() {
        assert_eq!(sent_to("0.0.0.0:3260", None, None), None);
        assert_eq!(sent_to("[::]:3260", None, None), None);
        assert_eq!(sent_to("0.0.0.0:3260", None, Some("storage")).unwrap(), "storage:3260");
    }

    #[test]
    fn who_looks_for_targets_is_told_a_portal_only_if_a_flag_names_one() {
        let bound = "192.0.2.1:3260".parse().unwrap();
        assert_eq!(Advertised::default().portal(&bound).unwrap(), None);
        let named = Advertised { portal: Some("disks"), host: None };
        assert_eq!(named.portal(&bound).unwrap(), Some("disks:3260".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_a_portal_is_refused() {
        for portal in ["", "a b", "disks:port", "disks:1:2"] {
            let bad = Advertised { portal: Some(portal), host: None };
            let refused = bad.destination(&"192.0.2.1:3260".parse().unwrap()).unwrap_err();
            assert!(format!("{refused}").starts_with("--iscsi-advertise"), "{refused}");
        }
    }
}
