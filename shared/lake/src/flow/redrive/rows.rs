//! Which rows of a quarantine table pass now.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch, StringArray, UInt32Array,
};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type};
use headwater_core::model::{FlowKind, RelationSource, Violation};
use headwater_core::name::FlowName;
use headwater_core::provenance::METADATA;

use super::{RETURNED, Redrive, texts_of};
use crate::align::{align, merged};
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;
use crate::flow::dedup::Keys;
use crate::flow::key_set::{KeySet, Marked};
use crate::flow::marks::FileMarks;
use crate::flow::outlet::TablePlan;
use crate::flow::remembered::Fresh;
use crate::flow::rules::{Rule, Tally, judge};
use crate::flow::stream::progress;
use crate::flow::target::Pinned;
use crate::ingest::HEADWATER;
use crate::ledger::{LedgerColumn, held, leaf};

/// The position of the row that a candidate comes from; never stored.
pub(super) const ROW: &str = "__row";

/// What the target's `txn`s tell of files, by the flow that reads them.
pub(super) type MarksOfFlows = HashMap<FlowName, FileMarks>;

/// Rows that may be returned.
pub(super) struct Open {
    pub(super) rows: Vec<u32>,
    pub(super) staying: BTreeMap<String, u64>,
}

/// The batch that put a row aside.
struct BatchOf<'a> {
    flow: Option<&'a str>,
    /// Through which version of its source it read.
    version: Option<i64>,
    /// The message or file of the row, and whether the target has rows of it.
    record: Option<(&'a str, bool)>,
}

/// Messages and files that the target has rows of.
#[derive(Debug, Default)]
struct Landed {
    ids: HashSet<String>,
}

impl Landed {
    fn of<'a>(&self, rows: &'a RecordBatch, row: usize) -> Option<(&'a str, bool)> {
        let metadata = rows.column_by_name(METADATA)?.as_struct_opt()?;
        let names = ["message_id", "file_path"];
        let column = names.iter().find_map(|name| metadata.column_by_name(name))?.as_string_opt::<i32>()?;
        let id = column.is_valid(row).then(|| column.value(row))?;
        Some((id, self.ids.contains(id)))
    }
}

/// What passes of files of the quarantine table.
pub(super) struct Passed {
    /// The positions of the rows that pass.
    pub(super) of: BTreeSet<u32>,
    /// What the target gets from them.
    pub(super) rows: RecordBatch,
    pub(super) target: TablePlan,
    pub(super) duplicate: u64,
    pub(super) staying: BTreeMap<String, u64>,
}

/// What a table may get: rows in its columns and [`ROW`], with what failed by row.
#[derive(Debug)]
pub(super) struct Candidates {
    pub(super) rows: RecordBatch,
    pub(super) failed: BTreeMap<u32, Vec<String>>,
}

/// The columns of a quarantine table, the mark among them.
pub(super) fn with_mark(schema: &SchemaRef) -> SchemaRef {
    let mark = Schema::new(vec![Field::new(RETURNED, DataType::Utf8, true)]);
    merged(schema, &Arc::new(mark))
}

/// By which redrive each row was returned, or claimed.
pub(super) fn returned_by(rows: &RecordBatch) -> Vec<Option<String>> {
    let column = rows.column_by_name(RETURNED).and_then(|column| column.as_string_opt::<i32>());
    column.map_or_else(|| vec![None; rows.num_rows()], |ids| ids.iter().map(|id| id.map(str::to_owned)).collect())
}

/// The rows, these of them marked.
pub(super) fn marked(rows: &RecordBatch, of: &BTreeSet<u32>, id: &str) -> Result<RecordBatch> {
    let before = returned_by(rows);
    let marks: StringArray =
        (0_u32..).zip(&before).map(|(at, old)| if of.contains(&at) { Some(id) } else { old.as_deref() }).collect();
    let column = |field: &Arc<Field>| match rows.column_by_name(field.name()) {
        Some(column) if field.name() != RETURNED => ArrayRef::clone(column),
        Some(_) | None => Arc::new(marks.clone()),
    };
    let columns = rows.schema().fields().iter().map(column).collect();
    RecordBatch::try_new(rows.schema(), columns).map_err(LakeError::arrow)
}

impl FlowRun<'_> {
    /// The rows that weren't returned, that are wanted, and whose batch has ended. Marks of files are read once for each flow.
    pub(super) async fn open_rows(
        &self,
        (pinned, marks): (&Pinned, &mut MarksOfFlows),
        rows: &RecordBatch,
        returned: &BTreeSet<String>,
        wanted: &Redrive,
    ) -> Result<Open> {
        let claims = returned_by(rows);
        let flows = texts_of(rows, "flow");
        let versions = leaf(rows, &format!("{HEADWATER}.source_version"));
        let times = leaf(rows, &format!("{HEADWATER}.time"));
        let landed = self.landed(pinned, rows).await?;
        let since = wanted.since.map(|since| since.timestamp_micros());
        let mut open = Open { rows: Vec::new(), staying: BTreeMap::new() };
        for (at, claim) in (0_u32..).zip(&claims) {
            let row = at as usize;
            let time = times.as_ref().map(|times| times.as_primitive::<TimestampMicrosecondType>().value(row));
            let is_chosen = since.is_none_or(|since| time.is_some_and(|time| time >= since))
                && wanted
                    .reason
                    .as_ref()
                    .is_none_or(|reason| reasons(rows, row).iter().any(|had| had.contains(reason)));
            if !is_chosen || claim.as_ref().is_some_and(|id| returned.contains(id)) {
                continue;
            }
            let version = versions.as_ref().map(|versions| versions.as_primitive::<Int64Type>());
            let version = version.filter(|versions| versions.is_valid(row)).map(|versions| versions.value(row));
            let batch = BatchOf { flow: flows[row], version, record: landed.of(rows, row) };
            if self.has_ended((pinned, marks), &batch, wanted.messages_wait).await? {
                open.rows.push(at);
            } else {
                *open.staying.entry("its batch hasn't ended: run the pipeline first".to_owned()).or_default() += 1;
            }
        }
        Ok(open)
    }

    /// Whether the batch that put a row aside is in the target, so that it isn't run again. If it is
    /// run again, it counts a message or a file of which the target has a row as done.
    async fn has_ended(
        &self,
        (pinned, marks): (&Pinned, &mut MarksOfFlows),
        batch: &BatchOf<'_>,
        messages_wait: bool,
    ) -> Result<bool> {
        let mut flows = self.lake.pipeline().flows_into(&self.flow.target);
        let Some(flow) = flows.find(|one| Some(one.name.as_str()) == batch.flow) else { return Ok(true) };
        match (flow.stream().map(|stream| &stream.source), batch.record) {
            (Some(RelationSource::Events { .. }), Some((_, landed))) => Ok(landed || !messages_wait),
            (Some(RelationSource::Files { .. }), Some((path, landed))) => {
                let marks = match marks.entry(flow.name.clone()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(unknown) => {
                        unknown.insert(FlowRun { flow, ..*self }.file_marks(pinned.main.as_ref()).await?)
                    }
                };
                Ok(match batch.version.and_then(|start| u64::try_from(start).ok()) {
                    Some(start) => marks.is_behind(path, start),
                    None => landed && !marks.is_in_parts(path) || marks.is_done(path),
                })
            }
            (Some(RelationSource::Events { .. } | RelationSource::Files { .. }), None) => Ok(false),
            (Some(RelationSource::Table(_) | RelationSource::TableStream { .. }) | None, _) => {
                let done = progress(pinned.main.as_ref(), &self.lake.app_id(flow)).await?;
                let version = batch.version.and_then(|version| u64::try_from(version).ok());
                Ok(done.is_some() && (flow.kind == FlowKind::Once || done >= version))
            }
        }
    }

    /// Which of the messages and files of these rows the target has rows of.
    async fn landed(&self, pinned: &Pinned, rows: &RecordBatch) -> Result<Landed> {
        let mut landed = Landed::default();
        for column in [LedgerColumn::MessageId, LedgerColumn::FilePath] {
            let ids: HashSet<String> = leaf(rows, column.path())
                .and_then(|ids| Some(ids.as_string_opt::<i32>()?.iter().flatten().map(str::to_owned).collect()))
                .unwrap_or_default();
            if let Some(main) = &pinned.main {
                landed.ids.extend(held(self.lake.storage(), column, &ids, &main.files().await?).await?);
            }
        }
        Ok(landed)
    }

    /// Judges rows of quarantine files as their flow would now. `seen` holds the keys of those that
    /// passed before.
    pub(super) async fn passed(
        &self,
        pinned: &Pinned,
        rows: &RecordBatch,
        open: &[u32],
        seen: &mut KeySet,
    ) -> Result<Passed> {
        let (misfits, open_rows): (Vec<u32>, Vec<u32>) = open.iter().partition(|at| is_misfit(rows, **at));
        let (raw, rows_of_rules): (Vec<u32>, Vec<u32>) = open_rows.into_iter().partition(|at| is_raw(rows, *at));
        let mut parts = vec![with_positions(rows, &rows_of_rules)?];
        let misfit = |at| {
            (at, vec!["a value doesn't fit its column: mend the query or the type, and refresh the table".to_owned()])
        };
        let mut failed: BTreeMap<u32, Vec<String>> = misfits.into_iter().map(misfit).collect();
        for candidates in self.candidates_of_records(pinned, rows, &raw).await? {
            failed.extend(candidates.failed);
            parts.push(candidates.rows);
        }
        let given = parts.iter().map(|part| without(&part.schema(), &[HEADWATER, RETURNED, ROW]));
        let given = given.reduce(|all, more| merged(&all, &more)).unwrap_or_else(|| Arc::new(Schema::empty()));
        let target = self.target_plan(pinned, &self.declared_of(&given), None).await?;
        let wide = with_row(&target.schema);
        let aligned = parts.iter().map(|part| align(part, &wide)).collect::<Result<Vec<_>>>()?;
        let all = concat_batches(&wide, &aligned).map_err(LakeError::arrow)?;
        let kept = self.kept(&target, all, &mut failed)?;
        let mut of: BTreeSet<u32> = open.iter().copied().collect();
        of.retain(|at| !failed.contains_key(at));
        let before = kept.num_rows();
        let kept = self.first_of_keys(pinned, &target, kept, seen).await?;
        let duplicate = (before - kept.num_rows()) as u64;
        let mut staying = BTreeMap::new();
        for reason in failed.into_values().flatten() {
            *staying.entry(reason).or_default() += 1;
        }
        let names: Vec<usize> = (0..target.schema.fields().len()).collect();
        let rows = kept.project(&names).map_err(LakeError::arrow)?;
        Ok(Passed { of, rows, target, duplicate, staying })
    }

    /// The columns that the table takes: all, or those that it declares.
    fn declared_of(&self, given: &SchemaRef) -> SchemaRef {
        let is_kept = |field: &&Arc<Field>| {
            let columns = &self.dataset.columns;
            columns.is_empty() || field.name() == METADATA || columns.iter().any(|column| column.name == *field.name())
        };
        Arc::new(Schema::new(given.fields().iter().filter(is_kept).cloned().collect::<Vec<_>>()))
    }

    /// What passes the rules. A record of whose rows one fails stays whole.
    fn kept(
        &self,
        target: &TablePlan,
        all: RecordBatch,
        failed: &mut BTreeMap<u32, Vec<String>>,
    ) -> Result<RecordBatch> {
        let strict = |rule: Rule| match rule.action {
            Violation::Fail => Rule { action: Violation::Drop, ..rule },
            Violation::Drop | Violation::Warn => rule,
        };
        let rules: Vec<Rule> = self.rules(target)?.into_iter().map(strict).collect();
        let judged = judge(&rules, &mut Tally::default(), all)?;
        if let Some((rows, reasons)) = &judged.dropped {
            for (index, at) in positions(rows).into_iter().enumerate() {
                let names = reasons.value(index);
                failed.entry(at).or_default().extend(names.as_string::<i32>().iter().flatten().map(str::to_owned));
            }
        }
        for reasons in failed.values_mut() {
            reasons.sort();
            reasons.dedup();
        }
        let whole = positions(&judged.kept).into_iter().map(|at| Some(!failed.contains_key(&at)));
        filter_record_batch(&judged.kept, &whole.collect::<BooleanArray>()).map_err(LakeError::arrow)
    }

    /// The rows whose key neither the target nor a row before them has.
    async fn first_of_keys(
        &self,
        pinned: &Pinned,
        target: &TablePlan,
        rows: RecordBatch,
        seen: &mut KeySet,
    ) -> Result<RecordBatch> {
        let Some(dedup) = &self.dataset.dedup else { return Ok(rows) };
        let keys = Arc::new(Keys::new(dedup, &target.schema)?);
        let mut fresh = Fresh::new(&keys, &target.schema);
        let columns = keys.columns_of(&rows);
        fresh.add(&columns)?;
        let held = match &pinned.main {
            Some(table) => self.remembered(fresh, (table, &target.schema), None).await?,
            None => Marked::default(),
        };
        let mut first = BooleanBufferBuilder::new(rows.num_rows());
        keys.each(&columns, |key| first.append(key.is_none_or(|key| !held.contains(key) && seen.insert(key))))?;
        filter_record_batch(&rows, &BooleanArray::new(first.finish(), None)).map_err(LakeError::arrow)
    }
}

fn is_raw(rows: &RecordBatch, at: u32) -> bool {
    leaf(rows, &format!("{HEADWATER}.raw")).is_some_and(|raw| raw.is_valid(at as usize))
}

/// Whether a row was decoded, but had a value that doesn't fit its column: it is kept as it was given, without a place.
fn is_misfit(rows: &RecordBatch, at: u32) -> bool {
    let position = leaf(rows, &format!("{HEADWATER}.position"));
    is_raw(rows, at) && position.is_some_and(|position| position.is_null(at as usize))
}

/// Why a row is in quarantine.
fn reasons(rows: &RecordBatch, row: usize) -> Vec<String> {
    let Some(lists) = leaf(rows, &format!("{HEADWATER}.reasons")) else { return Vec::new() };
    let Some(lists) = lists.as_list_opt::<i32>() else { return Vec::new() };
    let list = lists.value(row);
    list.as_string_opt::<i32>().map_or_else(Vec::new, |list| list.iter().flatten().map(str::to_owned).collect())
}

/// These rows, with their positions as [`ROW`].
fn with_positions(rows: &RecordBatch, at: &[u32]) -> Result<RecordBatch> {
    let positions = UInt32Array::from(at.to_vec());
    let taken = take_record_batch(rows, &positions).map_err(LakeError::arrow)?;
    let schema = with_row(&taken.schema());
    let columns = taken.columns().iter().cloned().chain([Arc::new(positions) as ArrayRef]).collect();
    RecordBatch::try_new(schema, columns).map_err(LakeError::arrow)
}

pub(super) fn with_row(schema: &SchemaRef) -> SchemaRef {
    let row = Arc::new(Field::new(ROW, DataType::UInt32, true));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([row]).collect::<Vec<_>>()))
}

fn without(schema: &SchemaRef, names: &[&str]) -> SchemaRef {
    let fields = schema.fields().iter().filter(|field| !names.contains(&field.name().as_str()));
    Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
}

pub(super) fn positions(rows: &RecordBatch) -> Vec<u32> {
    let column = rows.column_by_name(ROW).and_then(|column| column.as_primitive_opt::<UInt32Type>());
    column.map_or_else(Vec::new, |column| column.values().to_vec())
}
