//! Holistic aggregates on Polars: Arrow record batches in and out.
//!
//! The only crate that names Polars. It knows nothing of SQL, tables or files: which part of a query
//! is computed here is decided where queries are planned.

mod bridge;
mod error;
mod group;
mod types;

pub use error::FramesError;
pub use group::group_by;
