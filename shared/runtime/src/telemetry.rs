//! Logs: what functions did, for people and for machines; never payloads, never secrets.

use std::io::{self, Write};

use headwater_core::redact::redacted;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{Result, RuntimeError};

/// The environment variable that sets the level: `warn`, `debug`, or a filter such as
/// `info,headwater_lake=debug`.
pub const LEVEL_VARIABLE: &str = "HEADWATER_LOG";

/// What libraries report as errors and is none yet. The kernel does it of a table that isn't there, and the client of Event Hubs of a
/// connection that broke: whoever asked tries again, or says what it means.
const EXPECTED: &str = "buoyant_kernel::snapshot::builder=off,azure_messaging_eventhubs=off,azure_core_amqp=off";

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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Redacted(io::stderr()));
    let started = match format {
        LogFormat::Human => builder.compact().finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| RuntimeError::Setting { name: "telemetry".to_owned(), problem: error.to_string() })
}

/// Leaves secrets out of what libraries log, such as a URL that ends in a shared access signature.
struct Redacted<W>(W);

impl<W: Write> Write for Redacted<W> {
    /// An event comes as one piece.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(redacted(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn parse(filter: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(format!("{EXPECTED},{filter}")).map_err(|error| RuntimeError::Setting {
        name: LEVEL_VARIABLE.to_owned(),
        problem: format!("`{filter}` is no log filter ({error}); write `info` or `info,headwater_lake=debug`"),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Written by the logger, read by the test.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_signature_in_a_librarys_log_is_left_out() {
        let shared = Shared::default();
        let logger = tracing_subscriber::fmt().with_ansi(false).with_writer({
            let shared = shared.clone();
            move || Redacted(shared.clone())
        });
        tracing::subscriber::with_default(logger.finish(), || {
            tracing::warn!(url = "https://a/b?sp=r&sig=s3cret%3D", "refused")
        });
        let written = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        assert!(
            written.contains("refused") && written.contains("sp=r&sig=…") && !written.contains("s3cret"),
            "{written}"
        );
    }

    #[test]
    fn a_wrong_level_says_what_would_be_right() {
        let error = parse("headwater=loud").unwrap_err();
        assert!(error.to_string().contains("HEADWATER_LOG"), "{error}");
        assert!(parse("info,headwater_lake=debug").is_ok());
    }
}
