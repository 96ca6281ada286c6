//! The log of every program: lines on stderr, `--log LEVEL --log-format text|json`.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level makes no sense.
    #[error(
        "--log {text:?}: expected error, warn, info, debug, trace or off, or a filter like info,blockferry_store=debug: {reason}"
    )]
    Level {
        /// What was given.
        text: String,
        /// The parser's complaint.
        reason: String,
    },
    /// The format is not known.
    #[error("--log-format {text:?}: expected text or json")]
    Format {
        /// What was given.
        text: String,
    },
    /// There is a log already.
    #[error("the log is set up already")]
    Twice,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogError::Format { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Sends the log to stderr from now on. `level` is a level or a filter of tracing's.
///
/// # Errors
/// When `level` makes no sense, or a log was set up before.
pub fn init(level: &str, format: LogFormat) -> Result<(), LogError> {
    let filter = filter(level)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Told on stderr, a failure to write there would be a panic wherever something is logged.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| LogError::Twice)
}

/// A lone word that is no level would be taken as the name of a module and silence everything, so
/// it is refused.
fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let refused = |reason: String| LogError::Level { text: level.to_owned(), reason };
    let is_word = !level.contains(['=', ',', '[']);
    if level.is_empty() || is_word && level.parse::<LevelFilter>().is_err() {
        return Err(refused("no such level".to_owned()));
    }
    EnvFilter::try_new(level).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused_instead_of_silencing_the_log() {
        for level in ["infos", "", "info,x=loud"] {
            let error = filter(level).unwrap_err().to_string();
            assert!(error.contains("expected error, warn, info"), "{error}");
        }
        for level in ["error", "info", "TRACE", "off", "info,blockferry_store=debug"] {
            assert!(filter(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn a_format_reads_back_what_it_printed() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(format.to_string().parse::<LogFormat>().unwrap(), format);
        }
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
