//! Names and numbers that tell two of a kind apart: volumes, migrations, sessions, generations.

use std::fmt;
use std::str::FromStr;

/// A text that is not the hexadecimal form of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseIdentityError {
    expected_digits: usize,
}

impl fmt::Display for ParseIdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} hexadecimal digits", self.expected_digits)
    }
}

impl std::error::Error for ParseIdentityError {}

macro_rules! bytes_identity {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Its length in bytes; the text form has two hexadecimal digits for each.
            pub const LENGTH: usize = $length;

            /// Wraps the given bytes.
            pub const fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The bytes as they go over the wire.
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdentityError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let error = ParseIdentityError { expected_digits: 2 * $length };
                if text.len() != 2 * $length || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(error);
                }
                let mut bytes = [0; $length];
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16)
                        .map_err(|_| error)?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

bytes_identity!(
    /// One migration of one volume.
    MigrationId, 16
);
bytes_identity!(
    /// One client connection as its switch (or the server that it reached) names it. It stays the
    /// same when the path below it is opened again; the [`Generation`] grows then.
    SessionId, 16
);
bytes_identity!(
    /// The secret that the parties of one migration show each other. `Debug` hides it.
    Token, 32
);

macro_rules! plain_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
plain_debug!(MigrationId, SessionId);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

macro_rules! number_identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            ///
            /// # Panics
            /// When 64 bits are used up, which no run reaches.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number_identity!(
    /// How often something changed hands: of a volume, its owner; of a session, its path. Whatever
    /// carries an older one is fenced (I12).
    Generation
);
number_identity!(
    /// One run of a storage process; drawn at random when it starts.
    BootId
);
number_identity!(
    /// One try to commit a migration. Each makes a `Ready` of its own (I10).
    Attempt
);
number_identity!(
    /// How often the source has set its read cursor back. A copy connection carries the epoch in
    /// which its claims were made; an older one is refused (I12).
    ClaimEpoch
);

/// The name of a volume: `[A-Za-z0-9._-]{1,64}`, not beginning with a dot, so that it can be a
/// file's name and never a path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeName(String);

/// A text that cannot name a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeNameError;

impl fmt::Display for VolumeNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a volume's name has 1 to 64 letters, digits, dots, underscores or hyphens \
             and does not begin with a dot",
        )
    }
}

impl std::error::Error for VolumeNameError {}

impl VolumeName {
    /// Longest name, in bytes.
    pub const LENGTH_MAX: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = VolumeNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let fits = (1..=Self::LENGTH_MAX).contains(&text.len());
        if fits && !text.starts_with('.') && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(VolumeNameError)
        }
    }
}

impl fmt::Debug for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_what_it_printed() {
        let id = SessionId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("zz".repeat(16).parse::<SessionId>().is_err());
        assert!("00".repeat(15).parse::<SessionId>().is_err());
        assert!("é".repeat(16).parse::<SessionId>().is_err());
    }

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let token = Token::from_bytes([7; 32]);
        assert!(!format!("{token:?}").contains("07"));
    }

    #[test]
    fn a_volume_name_can_never_be_a_path() {
        for bad in ["", ".", "..", ".hidden", "a/b", "a\0", "a b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<VolumeName>().is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "vol-1_2.img", &"x".repeat(64)] {
            assert!(good.parse::<VolumeName>().is_ok(), "{good:?} was refused");
        }
    }
}
