//! What must hold whatever records and log entries others have written: each check reads some bytes and panics where a promise
//! is broken.
//!
//! No panic, no hang, nothing lost beside what can't be read, and the same reading each time. `fuzz_targets` hand the bytes
//! over; `../run` builds and runs them.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a check tells by a panic")]

pub mod events;
pub mod logs;

use std::collections::BTreeMap;

use chrono::{DateTime, Duration};
use headwater_core::diagnostic::SourceFile;
use headwater_core::model::Pipeline;
use headwater_core::trigger::Message;
use headwater_core::{graph, project};

/// The pipeline of a project whose messages are called `events`.
fn pipeline(sql: &str) -> Pipeline {
    let file = SourceFile::new("pipeline.yml", "name: p\nstorage: lake\nsources:\n  events: {spool: events}\n");
    let parsed = project::parse(&file, &BTreeMap::new());
    let built = graph::build(&parsed.project.expect("a project"), &[SourceFile::new("a.sql", sql)]);
    built.pipeline.expect("a pipeline")
}

fn message(id: &str, body: &[u8]) -> Message {
    Message {
        id: id.to_owned(),
        body: body.to_vec().into(),
        enqueued_at: DateTime::UNIX_EPOCH + Duration::days(20_000),
        receive_count: 1,
        attributes: BTreeMap::new(),
    }
}
