//! The five functions, as hosts know them: a name and a handler.

use std::fmt;

use headwater_core::report::Report;
use headwater_core::trigger::Trigger;

/// The functions that a host wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FunctionKind {
    /// Message batches to bronze.
    BronzeEvents,
    /// Arrived files to bronze.
    BronzeFiles,
    /// New commits to silver.
    Silver,
    /// Materialized views.
    Gold,
    /// Compaction, checkpoints, clean-up.
    Compact,
}

impl FunctionKind {
    /// The function's name, as its crate is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BronzeEvents => "bronze-events",
            Self::BronzeFiles => "bronze-files",
            Self::Silver => "silver",
            Self::Gold => "gold",
            Self::Compact => "compact",
        }
    }
}

impl FunctionKind {
    /// All of them, in the order in which rows pass them.
    pub const ALL: [Self; 5] = [Self::BronzeEvents, Self::BronzeFiles, Self::Silver, Self::Gold, Self::Compact];

    /// The function of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name() == name)
    }
}

impl fmt::Display for FunctionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a host runs for a trigger.
///
/// A closure `Fn(FunctionKind, Trigger) -> impl Future<Output = Report>` is a handler.
pub trait Handler {
    /// Does the work of one function, and reports it.
    fn handle(&self, function: FunctionKind, trigger: Trigger) -> impl Future<Output = Report>;
}

impl<F, R> Handler for F
where
    F: Fn(FunctionKind, Trigger) -> R,
    R: Future<Output = Report>,
{
    fn handle(&self, function: FunctionKind, trigger: Trigger) -> impl Future<Output = Report> {
        self(function, trigger)
    }
}
