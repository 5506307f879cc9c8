//! Rows of files as the engine reads them: decoded on threads of their own, read ahead, and gathered into larger batches.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::StreamExt;
use headwater_core::model::ReadOptions;
use tokio::sync::mpsc;

use super::FlowRun;
use super::arrivals::Waiting;
use super::execute::BadRecords;
use super::parts::FilePart;
use crate::error::{LakeError, Result};
use crate::ingest::{BadRecord, FileDecoder, FoundFile, Ranges, Reached, damaged, file_schema};
use crate::landing_progress::LandingProgress;

/// Files up to this size are read before it is their turn, some at a time.
const READ_AHEAD: u64 = 256 << 10;
const READS: usize = 32;

/// Rows that are handed on together, where a file has fewer, and their bytes in memory.
const ROWS: usize = 8192;
const BYTES: usize = 4 << 20;

impl FlowRun<'_> {
    /// A table of the files' rows, decoded as they are read, and their bad records. A table that is
    /// read twice (for keys first) is decoded into memory once.
    pub(super) async fn decoded(
        &self,
        waiting: &Waiting,
        read: &ReadOptions,
        columns: &SchemaRef,
        twice: bool,
    ) -> Result<(Arc<dyn TableProvider>, BadRecords)> {
        let schema = file_schema(columns);
        let (sender, receiver) = mpsc::channel(16);
        let decoder = self.file_decoder(waiting.storage.object_store(), read, columns);
        let partitions = if self.dataset.dedup.is_some() { Some(1) } else { None };
        let progress = Arc::clone(self.lake.landing());
        let streaming = streaming((waiting, progress), decoder, Some(sender), partitions)?;
        if !twice {
            return Ok((streaming, receiver));
        }
        let (sender, all_bad) = mpsc::channel(1);
        let mut receiver = receiver;
        let collect_bad = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(some) = receiver.recv().await {
                all.extend(some);
            }
            let _ = sender.send(all).await;
        });
        let session = self.lake.engine().ordered_session();
        let rows =
            session.read_table(streaming).map_err(LakeError::query)?.collect().await.map_err(LakeError::query)?;
        drop(session);
        collect_bad.await.map_err(|source| LakeError::Internal { message: source.to_string() })?;
        Ok((Arc::new(MemTable::try_new(schema, vec![rows]).map_err(LakeError::query)?), all_bad))
    }
}

/// A table of files; where nobody takes bad records, one fails whoever reads it.
pub(super) fn streaming(
    (waiting, progress): (&Waiting, Arc<LandingProgress>),
    decoder: FileDecoder,
    bad: Option<mpsc::Sender<Vec<BadRecord>>>,
    partitions: Option<usize>,
) -> Result<Arc<dyn TableProvider>> {
    let schema = file_schema(&decoder.columns);
    let decoder = Arc::new(decoder);
    let most = partitions.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let streams = spread(&waiting.files, most).into_iter().map(|files| {
        Arc::new(FileStream {
            files,
            part: waiting.part.clone(),
            progress: Arc::clone(&progress),
            schema: Arc::clone(&schema),
            decoder: Arc::clone(&decoder),
            bad: bad.clone(),
        }) as Arc<dyn PartitionStream>
    });
    let table = StreamingTable::try_new(Arc::clone(&schema), streams.collect()).map_err(LakeError::query)?;
    Ok(Arc::new(table))
}

/// Files dealt out by size, so that partitions end at about the same time; never no partition.
fn spread(files: &[FoundFile], partitions: usize) -> Vec<Vec<FoundFile>> {
    let mut dealt: Vec<(u64, Vec<FoundFile>)> = vec![(0, Vec::new()); partitions.min(files.len()).max(1)];
    for file in files {
        if let Some((size, least)) = dealt.iter_mut().min_by_key(|(size, _)| *size) {
            *size += file.size;
            least.push(file.clone());
        }
    }
    dealt.into_iter().map(|(_, files)| files).collect()
}

/// Rows of some files, or of a part of one, decoded on a thread of its own.
#[derive(Debug)]
struct FileStream {
    files: Vec<FoundFile>,
    part: Option<Arc<FilePart>>,
    progress: Arc<LandingProgress>,
    schema: SchemaRef,
    decoder: Arc<FileDecoder>,
    bad: Option<mpsc::Sender<Vec<BadRecord>>>,
}

impl PartitionStream for FileStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 2);
        let (found, mut inputs) = mpsc::channel(READS);
        let (files, store) = (self.files.clone(), Arc::clone(&self.decoder.store));
        let progress = Arc::clone(&self.progress);
        builder.spawn(async move {
            let ahead = |file: FoundFile| {
                let ranges = Ranges::new(Arc::clone(&store), &file).told(&progress);
                async move { if file.size <= READ_AHEAD { ranges.ahead().await } else { ranges } }
            };
            let mut ready = futures::stream::iter(files).map(ahead).buffered(READS);
            while let Some(ranges) = ready.next().await {
                if found.send(ranges).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        let mut outlet =
            Rows { to: builder.tx(), bad: self.bad.clone(), gathered: Vec::new(), rows: 0, bytes: 0, refused: None };
        let (decoder, part, progress) = (Arc::clone(&self.decoder), self.part.clone(), Arc::clone(&self.progress));
        builder.spawn_blocking(move || {
            while let Some(ranges) = inputs.blocking_recv() {
                let failed = |error: LakeError| DataFusionError::External(Box::new(error));
                let goes_on = decode(&decoder, &ranges, part.as_deref(), &mut outlet).map_err(failed)?;
                if let Some(reason) = outlet.refused.take() {
                    return Err(DataFusionError::Execution(reason));
                }
                if !goes_on {
                    return Ok(());
                }
                progress.read(u64::from(part.as_ref().is_none_or(|part| part.is_last())), 0);
            }
            outlet.flush()?;
            Ok(())
        });
        builder.build()
    }
}

/// Lets out what is in a file; false when nobody wants more.
fn decode(decoder: &FileDecoder, ranges: &Ranges, part: Option<&FilePart>, outlet: &mut Rows) -> Result<bool> {
    let emit = |rows: RecordBatch, bad| outlet.take(rows, bad);
    let Some(part) = part else { return Ok(decoder.decode_part(ranges, None, emit)?.is_some()) };
    let reached = match &part.lost {
        None => decoder.decode_part(ranges, Some(&part.text), emit)?,
        Some(reason) => {
            let empty = RecordBatch::new_empty(file_schema(&decoder.columns));
            let goes_on = outlet.take(empty, vec![damaged(ranges.file(), reason.clone())]);
            goes_on.then_some(Reached { at: part.text.from, is_end: true })
        }
    };
    if let Some(reached) = reached {
        let _ = part.reached.set(reached);
    }
    Ok(reached.is_some())
}

/// Where rows and bad records go.
struct Rows {
    to: mpsc::Sender<datafusion::error::Result<RecordBatch>>,
    bad: Option<mpsc::Sender<Vec<BadRecord>>>,
    gathered: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    /// The first bad record, where nobody takes them.
    refused: Option<String>,
}

impl Rows {
    /// Hands rows and bad records on; false when nobody wants more.
    fn take(&mut self, rows: RecordBatch, bad: Vec<BadRecord>) -> bool {
        if let Some(first) = bad.first() {
            let Some(to) = &self.bad else {
                self.refused = Some(format!("{}: {}", first.position, first.reason));
                return false;
            };
            if to.blocking_send(bad).is_err() {
                return false;
            }
        }
        if rows.num_rows() > 0 {
            self.rows += rows.num_rows();
            self.bytes += rows.get_array_memory_size();
            self.gathered.push(rows);
        }
        if self.rows < ROWS && self.bytes < BYTES {
            return true;
        }
        match self.flush() {
            Ok(goes_on) => goes_on,
            Err(error) => {
                self.refused = Some(error.to_string());
                false
            }
        }
    }

    /// Hands on what was gathered.
    fn flush(&mut self) -> datafusion::error::Result<bool> {
        (self.rows, self.bytes) = (0, 0);
        let mut gathered = std::mem::take(&mut self.gathered);
        let rows = match gathered.as_slice() {
            [] => return Ok(true),
            [_] => gathered.remove(0),
            [first, ..] => concat_batches(&first.schema(), &gathered)?,
        };
        Ok(self.to.blocking_send(Ok(rows)).is_ok())
    }
}
