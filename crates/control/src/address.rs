//! Where a server listens and where a client finds it: `HOST:PORT` and `unix:/path`, the latter
//! also for clients, which write the former as a URL, `http://HOST:PORT`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest path of a unix socket in bytes: `sun_path` of Linux less its final zero.
const UNIX_PATH_MAX: usize = 107;

/// A text that is no address of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {reason}")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

/// A TCP endpoint by name or IP address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The endpoint of `host`, a name or an IP address (IPv6 without brackets), at `port`.
    ///
    /// # Errors
    /// When `host` is empty or has characters that no host has.
    pub fn new(host: &str, port: u16) -> Result<Self, AddressError> {
        let allowed =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%');
        if host.is_empty() || !host.bytes().all(allowed) {
            let reason = "the host has to be a name or an IP address";
            return Err(AddressError { text: host.to_owned(), reason });
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// The host, IPv6 addresses without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 asks a server for any free one.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| AddressError { text: text.to_owned(), reason };
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| error("expected HOST:PORT or unix:/path"))?;
        let port = port.parse().map_err(|_| error("the port has to be a number up to 65535"))?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_none() && host.contains(':') {
            return Err(error("an IPv6 address goes into brackets: [::1]:10809"));
        }
        Self::new(bracketed.unwrap_or(host), port).map_err(|inner| error(inner.reason))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Where a server listens: `HOST:PORT` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A TCP port.
    Tcp(HostPort),
    /// A unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// How a client reaches a control server that listens here; `advertise` is the name that
    /// others know this host by, where it is not the one listened on.
    ///
    /// # Errors
    /// When `advertise` cannot be a host.
    pub fn to_control(&self, advertise: Option<&str>) -> Result<ControlAddress, AddressError> {
        Ok(match (self, advertise) {
            (Self::Unix(path), _) => ControlAddress::Unix(path.clone()),
            (Self::Tcp(here), None) => ControlAddress::Tcp(here.clone()),
            (Self::Tcp(here), Some(name)) => ControlAddress::Tcp(HostPort::new(name, here.port)?),
        })
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) => unix_path(text, path).map(Self::Unix),
            None => text.parse().map(Self::Tcp),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(endpoint) => endpoint.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where a client finds a control server: `http://HOST:PORT` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ControlAddress {
    /// A TCP port.
    Tcp(HostPort),
    /// A unix socket.
    Unix(PathBuf),
}

impl FromStr for ControlAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| AddressError { text: text.to_owned(), reason };
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(text, path).map(Self::Unix);
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(error("expected http://HOST:PORT or unix:/path"));
        };
        let endpoint: HostPort = rest
            .strip_suffix('/')
            .unwrap_or(rest)
            .parse()
            .map_err(|inner: AddressError| error(inner.reason))?;
        match endpoint.port {
            0 => Err(error("a client has to be told the port: 0 is none")),
            _ => Ok(Self::Tcp(endpoint)),
        }
    }
}

impl fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(endpoint) => write!(f, "http://{endpoint}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl TryFrom<String> for ControlAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ControlAddress> for String {
    fn from(address: ControlAddress) -> Self {
        address.to_string()
    }
}

fn unix_path(text: &str, path: &str) -> Result<PathBuf, AddressError> {
    let error = |reason| Err(AddressError { text: text.to_owned(), reason });
    match path.len() {
        0 => error("the path of the socket is missing: unix:/path"),
        1..=UNIX_PATH_MAX if path.contains('\0') => error("a path has no zero byte"),
        1..=UNIX_PATH_MAX => Ok(Path::new(path).to_owned()),
        _ => error("the path of a unix socket has at most 107 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_what_it_printed() {
        for text in ["127.0.0.1:0", "storage-1:10809", "[::1]:80", "unix:/run/a b.sock", "unix:rel"]
        {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        for text in ["http://127.0.0.1:1", "http://[fe80::1%eth0]:80", "unix:/run/a.sock"] {
            let address: ControlAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(serde_json::to_string(&address).unwrap(), format!("\"{text}\""));
        }
        assert_eq!("http://h:1/".parse::<ControlAddress>().unwrap().to_string(), "http://h:1");
    }

    #[test]
    fn a_refused_address_says_what_was_expected() {
        let refusals: &[(&str, &str)] = &[
            ("localhost", "HOST:PORT"),
            ("localhost:", "port"),
            ("localhost:65536", "port"),
            (":80", "host"),
            ("a b:80", "host"),
            ("user@host:80", "host"),
            ("::1:80", "brackets"),
            ("unix:", "missing"),
        ];
        for (text, word) in refusals {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.contains(word) && error.contains(*text), "{error}");
        }
        let long = format!("unix:/{}", "x".repeat(UNIX_PATH_MAX));
        assert!(long.parse::<ListenAddress>().is_err());
        for text in ["h:80", "https://h:80", "http://h", "http://h:80/v1", "http://h:0", "http://"]
        {
            assert!(text.parse::<ControlAddress>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn an_advertised_name_takes_the_place_of_the_host_only() {
        let here: ListenAddress = "0.0.0.0:7000".parse().unwrap();
        assert_eq!(here.to_control(Some("store-2")).unwrap().to_string(), "http://store-2:7000");
        assert!(here.to_control(Some("not a host")).is_err());
        let here: ListenAddress = "unix:/run/c".parse().unwrap();
        assert_eq!(here.to_control(Some("store-2")).unwrap().to_string(), "unix:/run/c");
    }
}
