//! All tests that link DataFusion, in one binary.
#![cfg(test)]

mod arrivals;
mod cdc;
mod changed_columns;
mod changes;
mod check;
mod clustering;
mod commit;
mod compaction;
mod compaction_races;
mod crash_points;
mod damaged;
mod drift;
mod engine;
mod envelopes;
mod evolution;
mod flows;
mod formats;
mod frames;
mod hostile;
mod ingest;
mod lakes;
mod landing;
mod language;
mod local_host;
mod logs;
mod poison;
mod redrive;
mod requests;
mod shadows;
mod simulation;
mod slices;
mod soak;
mod tables;
mod time_travel;
mod vacuum;
