//! The pure heart of Headwater: the pipeline language, the graph, and every decision that a
//! function takes.
//!
//! Nothing here does I/O, reads a clock or draws a random number: values come in, values go out.
//! What a decision needs (the time, a seed, an id) is an argument. `lake`, `runtime` and the
//! functions do what this crate decides.

pub mod aggregate;
pub mod among;
pub mod as_of;
pub mod aws;
pub mod azure;
pub mod backoff;
pub mod batch;
pub mod bloom;
pub mod cdc;
pub mod check;
pub mod checkpoints;
pub mod clustering;
pub mod commit;
pub mod compaction;
pub mod diagnostic;
pub mod envelope;
pub mod error;
pub mod graph;
pub mod hub;
pub mod invariants;
pub mod marks;
pub mod model;
pub mod name;
pub mod nearest;
pub mod notices;
pub mod parts;
pub mod project;
pub mod provenance;
pub mod redact;
pub mod refresh;
pub mod replay;
pub mod report;
pub mod runs;
pub mod slices;
pub mod sql;
pub mod totals;
pub mod trigger;
pub mod vacuum;
pub mod watermark;
pub mod zorder;
