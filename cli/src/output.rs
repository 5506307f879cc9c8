//! The only place that writes to the terminal: results to standard output, the rest to standard error.
//!
//! Results go out whole and in order, and a reader that went away (`headwater query … | head`) ends
//! the command quietly.

use std::io::{self, IsTerminal, Write};

use crate::args::{Arguments, Color, Format};
use crate::failure::{Exit, Failure, Result};

/// Where and how results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// How results are printed.
    pub(crate) format: Format,
    /// Whether standard output is coloured.
    pub(crate) colored: bool,
    /// Whether standard error is coloured.
    pub(crate) errors_colored: bool,
    /// Columns of the terminal, `None` when output goes elsewhere.
    pub(crate) width: Option<usize>,
    /// Whether notes and progress are left out.
    pub(crate) quiet: bool,
}

impl Output {
    /// What the arguments and the environment ask for.
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let colors = |terminal: bool| match arguments.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let terminal = io::stdout().is_terminal();
        Self {
            format: arguments.format,
            colored: colors(terminal),
            errors_colored: colors(io::stderr().is_terminal()),
            width: if terminal { comfy_table::Table::new().width().map(usize::from) } else { None },
            quiet: arguments.quiet,
        }
    }

    /// Prints a result.
    pub(crate) fn print(&self, text: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| if text.ends_with('\n') || text.is_empty() { Ok(()) } else { stdout.write_all(b"\n") });
        written.and_then(|()| stdout.flush()).map_err(closed)
    }

    /// Prints what is good to know for a person; nothing where a machine reads.
    pub(crate) fn note(&self, text: &str) -> Result<()> {
        if self.quiet || self.format != Format::Table { Ok(()) } else { self.print(text) }
    }

    /// Prints to standard error. That nobody reads it is no reason to stop.
    pub(crate) fn complain(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _unread = stderr.write_all(text.trim_end().as_bytes()).and_then(|()| stderr.write_all(b"\n"));
    }

    /// A heading of a table.
    pub(crate) fn heading(&self, text: &str) -> Result<()> {
        let line = if self.colored { format!("\n\u{1b}[1m{text}\u{1b}[0m") } else { format!("\n{text}") };
        self.note(&line)
    }

    /// Whether progress is drawn: for people who look at a terminal.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }
}

fn closed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::OutputClosed;
    }
    let help = "check where the output goes; the lake is not affected".to_owned();
    Failure::Message { exit: Exit::Failed, message: format!("can't write the output: {error}"), help: Some(help) }
}
