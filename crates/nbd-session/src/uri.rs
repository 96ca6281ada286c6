//! URIs that name an export on a server.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use blockferry_net::Address;
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
