//! Runs a query and lets its rows out, one task a partition.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch, not};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use headwater_core::provenance::EVENT_TIME;
use headwater_core::watermark::is_late;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::outlet::{Outlet, Plan, Produced};
use crate::align::align;
use crate::error::{LakeError, Result};
use crate::ingest::BadRecord;

/// Records that couldn't be decoded, as they come.
pub(super) type BadRecords = mpsc::Receiver<Vec<BadRecord>>;

/// What a query's run gave, besides its files.
#[derive(Debug, Default)]
pub(super) struct Executed {
    pub(super) produced: Produced,
    /// Highest event time of all rows, in microseconds.
    pub(super) highest_event_time: Option<i64>,
}

/// Runs the query to its end. `watermark` parts the late rows from the others.
pub(super) async fn execute(
    frame: DataFrame,
    plan: &Arc<Plan>,
    watermark: Option<i64>,
    bad: Option<BadRecords>,
) -> Result<Executed> {
    let streams = frame.execute_stream_partitioned().await.map_err(LakeError::query)?;
    let mut tasks = JoinSet::new();
    for stream in streams {
        let outlet = Outlet::new(Arc::clone(plan));
        tasks.spawn(drain(stream, outlet, Arc::clone(&plan.target.schema), watermark));
    }
    let (rows_ended, ended) = oneshot::channel();
    let quarantine = bad.map(|bad| tokio::spawn(drain_bad(bad, ended, Outlet::new(Arc::clone(plan)))));
    let mut executed = Executed::default();
    while let Some(partition) = tasks.join_next().await {
        executed.add(partition.map_err(LakeError::join)??);
    }
    drop(rows_ended);
    if let Some(quarantine) = quarantine {
        executed.add(quarantine.await.map_err(LakeError::join)??);
    }
    Ok(executed)
}

impl Executed {
    fn add(&mut self, other: Self) {
        self.produced.add(other.produced);
        self.highest_event_time = self.highest_event_time.max(other.highest_event_time);
    }
}

async fn drain(
    mut stream: SendableRecordBatchStream,
    mut outlet: Outlet,
    schema: SchemaRef,
    watermark: Option<i64>,
) -> Result<Executed> {
    let mut highest_event_time = None;
    while let Some(batch) = stream.try_next().await.map_err(LakeError::query)? {
        let times = event_times(&batch)?;
        let rows = align(&batch, &schema)?;
        let Some(times) = times else {
            outlet.rows(rows).await?;
            continue;
        };
        highest_event_time =
            highest_event_time.max(arrow::compute::max(times.as_primitive::<TimestampMicrosecondType>()));
        let (in_time, late) = part(&rows, &times, watermark)?;
        if late.num_rows() > 0 {
            outlet.late_rows(&late).await?;
        }
        outlet.rows(in_time).await?;
    }
    Ok(Executed { produced: outlet.close().await?, highest_event_time })
}

/// Takes bad records until the rows have ended: by then, all of them have been sent.
async fn drain_bad(mut bad: BadRecords, mut ended: oneshot::Receiver<()>, mut outlet: Outlet) -> Result<Executed> {
    loop {
        let records = tokio::select! {
            biased;
            records = bad.recv() => records,
            _ = &mut ended, if !bad.is_closed() => {
                bad.close();
                continue;
            }
        };
        match records {
            Some(records) => outlet.bad(&records).await?,
            None => break,
        }
    }
    Ok(Executed { produced: outlet.close().await?, highest_event_time: None })
}

/// The hidden event-time column, in microseconds, if the flow has a watermark.
fn event_times(batch: &RecordBatch) -> Result<Option<ArrayRef>> {
    let Some(column) = batch.column_by_name(EVENT_TIME) else { return Ok(None) };
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    cast(column, &micros).map(Some).map_err(LakeError::arrow)
}

/// Rows in time, and late rows.
fn part(rows: &RecordBatch, times: &ArrayRef, watermark: Option<i64>) -> Result<(RecordBatch, RecordBatch)> {
    let late: arrow::array::BooleanArray =
        times.as_primitive::<TimestampMicrosecondType>().iter().map(|time| Some(is_late(watermark, time))).collect();
    if late.true_count() == 0 {
        return Ok((rows.clone(), rows.slice(0, 0)));
    }
    let in_time = not(&late).map_err(LakeError::arrow)?;
    let in_time = filter_record_batch(rows, &in_time).map_err(LakeError::arrow)?;
    Ok((in_time, filter_record_batch(rows, &late).map_err(LakeError::arrow)?))
}
