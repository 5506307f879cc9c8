//! Logs: what functions did, for people and for machines; never payloads.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{Result, RuntimeError};

/// The environment variable that sets the level: `warn`, `debug`, or a filter such as
/// `info,headwater_lake=debug`.
pub const LEVEL_VARIABLE: &str = "HEADWATER_LOG";

/// The kernel reports a table that isn't there yet as an error; whoever asks for it says what that means.
const EXPECTED: &str = "buoyant_kernel::snapshot::builder=off";

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines for a terminal.
    #[default]
    Human,
    /// One JSON object a line, for log collectors.
    Json,
}

/// Begins to write logs to standard error. `filter` is the value of [`LEVEL_VARIABLE`]; without it,
/// warnings and errors are written.
///
/// # Errors
/// `Invalid` when the filter can't be understood, or when logs are being written already.
pub fn start(format: LogFormat, filter: Option<&str>) -> Result<()> {
    let filter = parse(filter.filter(|filter| !filter.trim().is_empty()).unwrap_or("warn"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => builder.compact().finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| RuntimeError::Setting { name: "telemetry".to_owned(), problem: error.to_string() })
}

fn parse(filter: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(format!("{EXPECTED},{filter}")).map_err(|error| RuntimeError::Setting {
        name: LEVEL_VARIABLE.to_owned(),
        problem: format!("`{filter}` is no log filter ({error}); write `info` or `info,headwater_lake=debug`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_level_says_what_would_be_right() {
        let error = parse("headwater=loud").unwrap_err();
        assert!(error.to_string().contains("HEADWATER_LOG"), "{error}");
        assert!(parse("info,headwater_lake=debug").is_ok());
    }
}
