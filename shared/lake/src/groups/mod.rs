//! Data files row group by row group.
//!
//! Where a few rows of a file change, most of its row groups hold none of them. A [`Source`] gives groups as they are
//! stored, or the rows of some of their columns; an [`Encoder`] makes groups of rows; and a [`GroupWriter`] puts both into
//! new files, with the statistics of all. A group that is copied isn't decoded: its pages, dictionaries, indexes,
//! statistics and bloom filters stay as they are.

mod encode;
mod fetched;
mod filters;
mod source;
mod statistics;
mod writer;

use std::num::NonZero;
use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

pub(crate) use self::encode::{Encoder, Format, in_small_groups};
pub(crate) use self::filters::{ColumnProbes, Probes};
pub(crate) use self::source::{Source, Stored, opened};
pub(crate) use self::statistics::{bounds, may_hold_null};
pub(crate) use self::writer::GroupWriter;
use crate::error::{LakeError, Result};

/// A row group that can be put into a file.
#[derive(Debug)]
pub(crate) enum Group {
    /// Encoded now.
    Encoded(encode::Chunks),
    /// As it is stored in another file.
    Copied(source::Copied),
}

/// How many row groups are worked on together.
pub(crate) fn at_once() -> usize {
    std::thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 4)
}

/// Does work that takes the processor on one of as many threads as there are processors. What the work takes and frees over and over
/// stays in the heaps of these few threads.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(|| match workers() {
        Some(workers) => workers.install(work),
        None => work(),
    });
    done.await.map_err(LakeError::join)?
}

/// `None` where no more threads can be had.
fn workers() -> Option<&'static ThreadPool> {
    static WORKERS: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let name = |index| format!("row-groups-{index}");
    WORKERS.get_or_init(|| ThreadPoolBuilder::new().thread_name(name).build().ok()).as_ref()
}

/// An error of the Parquet library about what is in memory.
fn unexpected(source: parquet::errors::ParquetError) -> LakeError {
    LakeError::arrow(source.into())
}
