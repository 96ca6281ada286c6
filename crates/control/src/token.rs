//! The secret that a control server asks for where not only this machine can reach it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// Shortest secret in bytes: 96 bits even if it is written in hexadecimal.
const LENGTH_MIN: usize = 24;

/// Longest secret in bytes: it has to fit into a header.
const LENGTH_MAX: usize = 1024;

/// A secret as it goes into `Authorization: Bearer`. `Debug` hides it.
#[derive(Clone)]
pub struct BearerToken(String);

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("token file {path:?}: cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read or change it.
    #[error(
        "token file {path:?}: its mode is {mode:04o}, so others may read it; \
         make it the owner's alone: chmod 600 {path:?}"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds no usable secret.
    #[error(
        "token file {path:?}: expected one line of {LENGTH_MIN} to {LENGTH_MAX} visible ASCII \
         characters; openssl rand -hex 32 makes one"
    )]
    Unusable {
        /// The file.
        path: PathBuf,
    },
}

impl BearerToken {
    /// Reads the secret from a file that only its owner may read.
    ///
    /// # Errors
    /// When it cannot be read, others may read it, or it holds no usable secret.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.take(LENGTH_MAX as u64 + 2).read_to_string(&mut text).map_err(unreadable)?;
        Self::from_text(&text).ok_or_else(|| TokenError::Unusable { path: path.to_owned() })
    }

    fn from_text(text: &str) -> Option<Self> {
        let secret = text.strip_suffix('\n').unwrap_or(text);
        let fits = (LENGTH_MIN..=LENGTH_MAX).contains(&secret.len());
        (fits && secret.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(secret.to_owned()))
    }

    /// The value of the header that shows it.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a header shows this secret. Takes the same time however much of it is right.
    pub(crate) fn is_shown_by(&self, header: &[u8]) -> bool {
        header.ct_eq(self.header().as_bytes()).into()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn read(content: &str, mode: u32) -> Result<BearerToken, TokenError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        BearerToken::read(file.path())
    }

    #[test]
    fn a_token_file_that_others_may_read_is_refused() {
        for mode in [0o640, 0o604, 0o620, 0o644] {
            assert!(matches!(read(SECRET, mode), Err(TokenError::Exposed { .. })), "{mode:o}");
        }
        let token = read(&format!("{SECRET}\n"), 0o600).unwrap();
        assert!(token.is_shown_by(format!("Bearer {SECRET}").as_bytes()));
        assert!(!token.is_shown_by(format!("Bearer {SECRET}0").as_bytes()));
        assert!(!token.is_shown_by(SECRET.as_bytes()));
        assert!(!format!("{token:?}").contains(SECRET));
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused() {
        let long = "x".repeat(LENGTH_MAX + 1);
        for content in ["", "short", "two lines of\nsomething long enough", &long] {
            assert!(matches!(read(content, 0o600), Err(TokenError::Unusable { .. })));
        }
        let missing = BearerToken::read(Path::new("/nonexistent/token"));
        assert!(matches!(missing, Err(TokenError::Unreadable { .. })));
    }
}
