//! Runs a query and lets its rows out, one task a partition.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, filter, filter_record_batch, not};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use headwater_core::provenance::EVENT_TIME;
use headwater_core::watermark::is_late;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::outlet::{Outlet, Plan, Produced};
use crate::align::fit;
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

/// Runs the query to its end. `watermark` parts the late rows from the others. When a part of it fails, the others end
/// too, and their files are deleted.
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
        tasks.spawn(drain(stream, outlet, Arc::clone(plan), watermark));
    }
    let (rows_ended, ended) = oneshot::channel();
    let quarantine =
        bad.map(|bad| tokio::spawn(drain_bad(bad, ended, Outlet::new(Arc::clone(plan)), Arc::clone(plan))));
    let mut ends = Vec::new();
    while let Some(partition) = tasks.join_next().await {
        ends.push(partition.map_err(LakeError::join).flatten());
    }
    drop(rows_ended);
    if let Some(quarantine) = quarantine {
        ends.push(quarantine.await.map_err(LakeError::join).flatten());
    }
    together(plan, ends).await
}

/// What all parts gave, or the first error.
async fn together(plan: &Plan, ends: Vec<Result<Executed>>) -> Result<Executed> {
    let (mut executed, mut first) = (Executed::default(), None);
    for end in ends {
        match end {
            Ok(part) => executed.add(part),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    match first {
        None => Ok(executed),
        Some(error) => {
            plan.discard(executed.produced).await;
            Err(error)
        }
    }
}

impl Executed {
    fn add(&mut self, other: Self) {
        self.produced.add(other.produced);
        self.highest_event_time = self.highest_event_time.max(other.highest_event_time);
    }
}

/// Lets out the rows of one partition.
async fn drain(
    stream: SendableRecordBatchStream,
    mut outlet: Outlet,
    plan: Arc<Plan>,
    watermark: Option<i64>,
) -> Result<Executed> {
    let poured = pour(stream, &mut outlet, &plan, watermark).await;
    Box::pin(close(outlet, &plan, poured)).await
}

/// The highest event time, once all rows are out.
async fn pour(
    mut stream: SendableRecordBatchStream,
    outlet: &mut Outlet,
    plan: &Plan,
    watermark: Option<i64>,
) -> Result<Option<i64>> {
    let mut highest_event_time = None;
    while let Some(batch) = stream.try_next().await.map_err(LakeError::query)? {
        if plan.has_failed() {
            break;
        }
        let mut times = event_times(&batch)?;
        let (rows, rest) = fit(&batch, &plan.target.schema)?;
        if let Some((fits, misfits)) = rest {
            times = times.map(|times| filter(&times, &fits)).transpose().map_err(LakeError::arrow)?;
            outlet.misfits(&misfits).await?;
        }
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
    Ok(highest_event_time)
}

/// Takes bad records until the rows have ended: by then, all of them have been sent.
async fn drain_bad(
    mut bad: BadRecords,
    mut ended: oneshot::Receiver<()>,
    mut outlet: Outlet,
    plan: Arc<Plan>,
) -> Result<Executed> {
    let mut taken = Ok(None);
    loop {
        let records = tokio::select! {
            biased;
            records = bad.recv() => records,
            _ = &mut ended, if !bad.is_closed() => {
                bad.close();
                continue;
            }
        };
        let Some(records) = records else { break };
        if let Err(error) = outlet.bad(&records).await {
            taken = Err(error);
            break;
        }
    }
    Box::pin(close(outlet, &plan, taken)).await
}

/// Ends the files of a part that went well, while all parts do; deletes them otherwise.
async fn close(outlet: Outlet, plan: &Plan, poured: Result<Option<i64>>) -> Result<Executed> {
    let closed = match poured {
        Ok(highest_event_time) if !plan.has_failed() => {
            Box::pin(outlet.close()).await.map(|produced| Executed { produced, highest_event_time })
        }
        Ok(_) => {
            Box::pin(outlet.abort()).await;
            Ok(Executed::default())
        }
        Err(error) => {
            Box::pin(outlet.abort()).await;
            Err(error)
        }
    };
    closed.inspect_err(|_| plan.fail())
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
