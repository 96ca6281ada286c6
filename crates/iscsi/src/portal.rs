//! Where a target is reached (RFC 7143 sections 4.2.7.2 and 13.8).

use std::fmt;
use std::str::FromStr;

use crate::numbers::PortalGroup;

/// The port where none is named.
const PORT: u16 = 3260;
/// A host name, in bytes (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// A host and a TCP port.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PortalAddress {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    host: String,
    port: u16,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a portal's address is not of the form HOST[:PORT], with brackets around an IPv6 address")]
pub struct BadAddress;

impl PortalAddress {
    /// The address of a name, an IPv4 address, or an IPv6 address with or without brackets.
    ///
    /// # Errors
    /// When the host is none of these.
    pub fn new(host: &str, port: u16) -> Result<Self, BadAddress> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match bare {
            Some(address) => is_ipv6(address),
            None => is_ipv6(host) || is_host(host),
        };
        let host = bare.unwrap_or(host).to_owned();
        if valid { Ok(Self { host, port }) } else { Err(BadAddress) }
    }

    /// The host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// As `SendTargets` tells it: with its portal group.
    pub(crate) fn in_group(&self, group: PortalGroup) -> String {
        format!("{self},{}", group.0)
    }
}

impl FromStr for PortalAddress {
    type Err = BadAddress;

    /// `HOST[:PORT][,GROUP]`; the group is checked and left out.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (place, group) = text.split_once(',').map_or((text, None), |(a, b)| (a, Some(b)));
        if group.is_some_and(|group| group.parse::<u16>().is_err()) {
            return Err(BadAddress);
        }
        let after_host = place.rfind(']').map_or(0, |bracket| bracket + 1);
        match place[after_host..].split_once(':') {
            Some((rest, port)) => {
                let port = port.parse().map_err(|_| BadAddress)?;
                Self::new(&place[..after_host + rest.len()], port)
            }
            None => Self::new(place, PORT),
        }
    }
}

impl fmt::Display for PortalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Debug for PortalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether it looks like an IPv6 address; a resolver knows for sure.
fn is_ipv6(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    let colons = text.bytes().filter(|byte| *byte == b':').count();
    (2..=7).contains(&colons) && text.len() < 46 && text.bytes().all(allowed)
}

fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=HOST_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_of_every_kind_are_written_as_the_rfc_has_it() {
        for (host, written) in [
            ("192.0.2.1", "192.0.2.1:3260,1"),
            ("2001:db8::1", "[2001:db8::1]:3260,1"),
            ("[2001:db8::1]", "[2001:db8::1]:3260,1"),
            ("storage-2.example.com", "storage-2.example.com:3260,1"),
        ] {
            let address = PortalAddress::new(host, 3260).unwrap();
            assert_eq!(address.in_group(PortalGroup(1)), written);
        }
    }

    #[test]
    fn an_address_without_a_port_has_the_usual_one() {
        let address: PortalAddress = "[::1],7".parse().unwrap();
        assert_eq!((address.host(), address.port()), ("::1", PORT));
        let address: PortalAddress = "host:3261".parse().unwrap();
        assert_eq!((address.host(), address.port()), ("host", 3261));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", ":3260", "a b", "host:port", "host:1:2", "[host]:1", "[::1", "h,x", "a\0b"]
        {
            assert_eq!(text.parse::<PortalAddress>(), Err(BadAddress), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_that_comes_back_or_refused(text in "[\\[\\]a-f0-9:.,]{0,20}|.*") {
            if let Ok(address) = text.parse::<PortalAddress>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
