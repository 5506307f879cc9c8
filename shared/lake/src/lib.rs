//! The lake: tables, SQL and files.
//!
//! The only crate that names Delta Lake, DataFusion, Parquet and object stores. It does what
//! `headwater-core` decides.

mod align;
mod all_transactions;
mod checkpoint;
mod checksum;
mod clouds;
pub mod commit;
pub mod compact;
mod condition;
mod credentials;
mod curve;
mod data_file;
pub mod engine;
mod entries;
pub mod error;
mod few_commits;
pub mod flow;
mod groups;
pub mod ingest;
mod join;
mod known_names;
pub mod lake;
pub mod landing_progress;
pub mod layout;
pub mod ledger;
mod listed_logs;
mod local_logs;
mod log_entry;
mod named;
mod named_tail;
mod newest_files;
mod pin;
mod protocol;
mod recent_ends;
mod recent_log;
mod recent_marks;
mod remedy;
mod rewrite;
mod schema_actions;
pub mod shadow;
pub mod storage;
pub mod table;
mod time_travel;
mod totals;
mod transactions;
mod uploads;
mod vacuum;
mod whole_reads;
mod widened_log;
mod widening;
pub mod write;
