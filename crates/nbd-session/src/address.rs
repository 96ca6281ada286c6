//! Where a server listens, and the URIs that name an export there.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::Url;

/// The port registered for NBD.
const PORT_DEFAULT: u16 = 10809;
/// What a URI's path or query may not hold as it is.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'<')
    .add(b'>')
    .add(b'?');

/// Where a server listens: `HOST:PORT` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host's name or IP address (without brackets), and a port.
    Tcp(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: expected HOST:PORT or unix:/path")]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadAddress(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(bad()) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match bracketed {
            Some(inner) => inner,
            None if host.contains([':', '[', ']', '/']) => return Err(bad()),
            None => host,
        };
        if host.is_empty() { Err(bad()) } else { Ok(Self::Tcp(host.to_owned(), port)) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An export on a server: `nbd://HOST:PORT/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NbdUri {
    /// The server.
    pub address: Address,
    /// The export's name; empty for the default export.
    pub export: String,
}

/// A text that is no NBD URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no NBD URI: expected nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=/path")]
pub struct BadUri(String);

impl FromStr for NbdUri {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_uri(text).ok_or_else(|| BadUri(text.to_owned()))
    }
}

fn parse_uri(text: &str) -> Option<NbdUri> {
    let url = Url::parse(text).ok()?;
    let path = url.path().strip_prefix('/').unwrap_or(url.path());
    let export = percent_decode_str(path).decode_utf8().ok()?.into_owned();
    let address = match url.scheme() {
        "nbd" => {
            let host = url.host_str().filter(|host| !host.is_empty())?;
            let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
            let host = percent_decode_str(host).decode_utf8().ok()?.into_owned();
            Address::Tcp(host, url.port().unwrap_or(PORT_DEFAULT))
        }
        "nbd+unix" => {
            let (_, path) = url.query_pairs().find(|(key, _)| key == "socket")?;
            Address::Unix(PathBuf::from(path.into_owned()))
        }
        _ => return None,
    };
    Some(NbdUri { address, export })
}

impl fmt::Display for NbdUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let export = utf8_percent_encode(&self.export, ESCAPED);
        match &self.address {
            Address::Tcp(..) => write!(f, "nbd://{}/{export}", self.address),
            Address::Unix(path) => {
                let path = path.to_string_lossy();
                let socket = utf8_percent_encode(&path, ESCAPED);
                write!(f, "nbd+unix:///{export}?socket={socket}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_what_it_printed() {
        for text in ["127.0.0.1:0", "[::1]:10809", "server.example:1", "unix:/run/x.sock"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "host", "host:", ":1", "::1:1", "host:65536", "unix:relative", "a/b:1"] {
            assert!(text.parse::<Address>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_uri_reads_back_what_it_printed() {
        for text in [
            "nbd://127.0.0.1:10809/vol",
            "nbd://[::1]:1/vol@copy.token",
            "nbd://h:1/",
            "nbd+unix:///vol%20one?socket=/run/a%26b.sock",
        ] {
            let uri: NbdUri = text.parse().unwrap();
            assert_eq!(uri.to_string(), text);
            assert_eq!(uri.to_string().parse(), Ok(uri));
        }
    }

    #[test]
    fn the_parts_of_a_uri_are_decoded() {
        let uri: NbdUri = "nbd+unix:///a%2Fb?socket=/tmp/s".parse().unwrap();
        assert_eq!(uri.export, "a/b");
        assert_eq!(uri.address, Address::Unix("/tmp/s".into()));
        let uri: NbdUri = "nbd://localhost".parse().unwrap();
        assert_eq!(uri.address, Address::Tcp("localhost".to_owned(), PORT_DEFAULT));
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in ["", "vol", "http://h:1/vol", "nbd:///vol", "nbd+unix:///vol", "nbd://h:x/v"] {
            assert!(text.parse::<NbdUri>().is_err(), "{text:?} was accepted");
        }
    }
}
