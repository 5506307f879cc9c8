//! The lake: tables, SQL and files.
//!
//! The only crate that names Delta Lake, DataFusion, Parquet and object stores. It does what
//! `headwater-core` decides.

pub mod commit;
pub mod compact;
pub mod engine;
pub mod error;
//flow
pub mod ingest;
//lake
pub mod ledger;
pub mod storage;
pub mod table;
pub mod write;
