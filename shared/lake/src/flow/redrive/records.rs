//! Records that couldn't be decoded, decoded and run through their flow as it is now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{Field, Schema, SchemaRef};
use chrono::DateTime;
use datafusion::datasource::MemTable;
use headwater_core::model::{CsvOptions, Flow, Format, ReadOptions, RelationSource};
use headwater_core::provenance::{EVENT_TIME, METADATA, Trace, project_traces};
use headwater_core::trigger::Message;

use super::rows::{Candidates, ROW, positions, with_row};
use super::texts_of;
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;
use crate::flow::messages::Decoded;
use crate::flow::relations::register_source;
use crate::flow::target::Pinned;
use crate::ingest::HEADWATER;
use crate::ledger::{LedgerColumn, leaf};

impl FlowRun<'_> {
    /// What the records at these positions give now, flow by flow.
    pub(super) async fn candidates_of_records(
        &self,
        pinned: &Pinned,
        rows: &RecordBatch,
        at: &[u32],
    ) -> Result<Vec<Candidates>> {
        let names = texts_of(rows, "flow");
        let mut by_flow: BTreeMap<Option<&str>, Vec<u32>> = BTreeMap::new();
        for position in at {
            by_flow.entry(names[*position as usize]).or_default().push(*position);
        }
        let mut found = Vec::new();
        for (name, at) in by_flow {
            let flow = self.lake.pipeline().flows_into(&self.flow.target).find(|flow| Some(flow.name.as_str()) == name);
            let candidates = match flow {
                Some(flow) => FlowRun { flow, ..*self }.candidates(pinned, rows, &at).await?,
                None => Err(format!("its flow `{}` isn't there any more", name.unwrap_or_default())),
            };
            found.push(candidates.unwrap_or_else(|reason| none_of(&at, &reason)));
        }
        Ok(found)
    }

    /// The records of this flow, or why none of them can be decoded.
    async fn candidates(
        &self,
        pinned: &Pinned,
        rows: &RecordBatch,
        at: &[u32],
    ) -> Result<std::result::Result<Candidates, String>> {
        let Some(read) = read_of(self.flow) else { return Ok(Err("its flow reads no outside source".into())) };
        let Some(metadata) = rows.column_by_name(METADATA) else { return Ok(Err("its origin isn't known".into())) };
        if has_header(read) {
            return Ok(Err("the header that names its columns isn't kept with it: send it again".into()));
        }
        let read = &as_kept(read);
        let messages = messages_of(rows, at);
        let Decoded { columns, rows: decoded, bad, .. } =
            self.decoded_messages(pinned.main.as_ref(), (&messages, ""), read)?;
        let mut failed: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for record in bad {
            let position = record.position.split(':').next().and_then(|id| id.parse().ok()).unwrap_or_default();
            failed.entry(position).or_default().push(record.reason);
        }
        let source = self.source(&decoded, metadata, &columns)?;
        let decoded: BTreeSet<u32> = positions(&source).into_iter().collect();
        for position in at.iter().filter(|at| !decoded.contains(at)) {
            failed.entry(*position).or_insert_with(|| vec!["it holds no record".into()]);
        }
        match self.queried(source).await? {
            Some(rows) => Ok(Ok(Candidates { rows, failed })),
            None => Ok(Err("a table that its flow joins has no data yet".into())),
        }
    }

    /// The stream's rows, each with the `_metadata` of its record and its position.
    fn source(&self, decoded: &RecordBatch, metadata: &ArrayRef, columns: &SchemaRef) -> Result<RecordBatch> {
        let ids = leaf(decoded, LedgerColumn::MessageId.path());
        let ids = ids.ok_or_else(|| LakeError::Internal { message: "decoded records have no id".into() })?;
        let positions: UInt32Array = ids.as_string::<i32>().iter().map(|id| id?.parse().ok()).collect();
        let origin = Arc::new(Field::new(METADATA, metadata.data_type().clone(), true));
        let fields: Vec<Arc<Field>> = columns.fields().iter().cloned().chain([origin]).collect();
        let mut values: Vec<ArrayRef> = decoded.columns()[..columns.fields().len()].to_vec();
        values.push(take(metadata, &positions, None).map_err(LakeError::arrow)?);
        values.push(Arc::new(positions));
        RecordBatch::try_new(with_row(&Arc::new(Schema::new(fields))), values).map_err(LakeError::arrow)
    }

    /// What the flow's query gives for the rows; `None` when a table that it joins isn't there.
    async fn queried(&self, source: RecordBatch) -> Result<Option<RecordBatch>> {
        let stream = self.flow.stream().ok_or_else(|| self.no_stream())?;
        let traces = [Trace::Metadata, Trace::EventTime(ROW)];
        let query = project_traces(&self.flow.query, &traces).ok_or_else(|| self.untraceable())?;
        let session = self.session();
        let statics = self.pin_tables().await?;
        if self.register_static(&session, &query, &statics).await?.is_none() {
            return Ok(None);
        }
        let table = MemTable::try_new(source.schema(), vec![vec![source]]).map_err(LakeError::query)?;
        register_source(&session, stream, Arc::new(table))?;
        let frame = self.lake.engine().plan(&session, &query).await?;
        let schema = SchemaRef::clone(frame.schema().inner());
        let batches = frame.collect().await.map_err(LakeError::query)?;
        let all = concat_batches(&schema, &batches).map_err(LakeError::arrow)?;
        let kept: Vec<usize> = (0..schema.fields().len()).filter(|at| schema.field(*at).name() != ROW).collect();
        let all = all.project(&kept).map_err(LakeError::arrow)?;
        let name = |field: &Arc<Field>| match field.name() == EVENT_TIME {
            true => Arc::new(field.as_ref().clone().with_name(ROW)),
            false => Arc::clone(field),
        };
        let renamed = Schema::new(all.schema().fields().iter().map(name).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(renamed), all.columns().to_vec()).map(Some).map_err(LakeError::arrow)
    }
}

fn read_of(flow: &Flow) -> Option<&ReadOptions> {
    match &flow.stream()?.source {
        RelationSource::Events { read, .. } | RelationSource::Files { read, .. } => Some(read),
        RelationSource::Table(_) | RelationSource::TableStream { .. } => None,
    }
}

/// How what was kept of records is decoded: of rows of files of columns, it is JSON.
fn as_kept(read: &ReadOptions) -> ReadOptions {
    match read.format {
        Format::Parquet | Format::Avro | Format::BinaryFile => ReadOptions { format: Format::Json, ..read.clone() },
        Format::Json | Format::JsonDocument | Format::Csv(_) | Format::Text | Format::Raw => read.clone(),
    }
}

const fn has_header(read: &ReadOptions) -> bool {
    matches!(&read.format, Format::Csv(CsvOptions { header: true, .. }))
}

/// The records as messages whose ids are their positions.
fn messages_of(rows: &RecordBatch, at: &[u32]) -> Vec<Message> {
    let raw = leaf(rows, &format!("{HEADWATER}.raw"));
    let message = |position: &u32| {
        let body = raw.as_ref().and_then(|raw| Some(raw.as_binary_opt::<i32>()?.value(*position as usize).to_vec()));
        Message {
            id: position.to_string(),
            body: body.unwrap_or_default().into(),
            enqueued_at: DateTime::UNIX_EPOCH,
            receive_count: 1,
            attributes: BTreeMap::new(),
        }
    };
    at.iter().map(message).collect()
}

fn none_of(at: &[u32], reason: &str) -> Candidates {
    let rows = RecordBatch::new_empty(with_row(&Arc::new(Schema::empty())));
    Candidates { rows, failed: at.iter().map(|position| (*position, vec![reason.to_owned()])).collect() }
}
