//! Which keys of a batch a deduplicated table remembers.
//!
//! The batch's keys are held in memory, and the key columns of the table are streamed past them, the newest files first: memory
//! is that of the batch's own keys and of the parts of row groups in work, whatever the table's size. Statistics rule out files and row groups
//! between whose bounds none of the batch's keys lies, and Bloom filters those without any, unless the batch has many. Under a watermark, a row that is
//! older than it is forgotten, whatever file it is in, and files with none but such rows aren't read.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{Expr, ident};
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt};
use headwater_core::model::Query;

use super::FlowRun;
use super::dedup::{Keys, Seen};
use super::horizon::Horizon;
use super::key_set::{KeySet, Marked};
use super::outlet::Plan;
use super::sieve::{KeyHashes, Sieve};
use super::spread::{Gathered, Spread};
use super::target::Pinned;
use crate::align::{align, fit};
use crate::condition::Condition;
use crate::error::{LakeError, Result};
use crate::groups::{ColumnProbes, Source, Stored, aside, at_once, bounds, opened};
use crate::table::{DataFile, Table};

/// Parts of a row group that are in memory at once: one is read while another is decoded.
const PARTS_AT_ONCE: usize = 2;

/// The keys of a batch, and the values that they have.
#[derive(Debug)]
pub(super) struct Fresh {
    keys: Arc<Keys>,
    wanted: KeySet,
    hashes: KeyHashes,
    values: Gathered,
}

/// What is looked for in a table.
struct Sought {
    keys: Arc<Keys>,
    wanted: Arc<KeySet>,
    sieve: Sieve,
    /// The key columns, as the batch has them.
    schema: SchemaRef,
    horizon: Option<Horizon>,
    spread: Spread,
    probes: ColumnProbes,
}

/// A part of a table that is looked through at once.
enum Part {
    Group(Source, usize),
    /// Files that aren't read by row groups.
    Files(Vec<DataFile>),
}

impl FlowRun<'_> {
    /// The same plan, with those keys of the batch that the target remembers.
    pub(super) async fn with_keys_of_target(
        &self,
        plan: Arc<Plan>,
        pinned: &Pinned,
        (session, query): (&SessionContext, &Query),
        watermark: Option<i64>,
    ) -> Result<Arc<Plan>> {
        let (Some(keys), Some(table)) = (&plan.keys, &pinned.main) else { return Ok(plan) };
        if table.is_empty().await? {
            return Ok(plan);
        }
        let schema = &plan.target.schema;
        let frame = self.lake.engine().plan(session, query).await?;
        let horizon = watermark.and_then(|watermark| Horizon::of(frame.logical_plan(), schema, watermark));
        let of_keys = Arc::new(schema.project(keys.columns()).map_err(LakeError::arrow)?);
        let names = of_keys.fields().iter().map(|field| field.name().as_str());
        let given = names.filter(|name| frame.schema().has_column_with_unqualified_name(name));
        let given: Vec<Expr> = given.map(ident).collect();
        let frame = frame.select(given).map_err(LakeError::query)?;
        let mut fresh = Fresh::new(keys, schema);
        let mut rows = frame.execute_stream().await.map_err(LakeError::query)?;
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            fresh.add(fit(&batch, &of_keys)?.0.columns())?;
        }
        let remembered = self.remembered(fresh, (table, schema), horizon).await?;
        *plan.seen.lock().await = Seen::of_target(remembered);
        Ok(plan)
    }

    /// The fresh keys, of which those are marked that the table remembers, of rows that aren't beyond the horizon.
    pub(super) async fn remembered(
        &self,
        fresh: Fresh,
        (table, target): (&Table, &SchemaRef),
        horizon: Option<Horizon>,
    ) -> Result<Marked> {
        let sought = Arc::new(Sought::new(fresh, target, horizon)?);
        let mut remembered = Marked::none_of(Arc::clone(&sought.wanted));
        if remembered.are_all() {
            return Ok(remembered);
        }
        let files = match sought.condition(&table.schema()) {
            Some(condition) => table.files_that_may_hold(condition).await?,
            None => table.files().await?,
        };
        let mut files: Vec<DataFile> = files.into_iter().filter(|file| sought.may_be_in(file)).collect();
        // What comes again came lately, as a rule.
        files.sort_by_key(|file| Reverse(file.modified()));
        let are_stored = sought.are_stored_in(table);
        let (by_groups, scanned) = if are_stored { (files, None) } else { (Vec::new(), Some(Part::Files(files))) };
        let opened = opened(self.lake.storage(), by_groups, |_| true);
        let parts =
            opened.map_ok(|(file, source)| futures::stream::iter(sought.parts(file, source).into_iter().map(Ok)));
        let parts = parts.try_flatten().chain(futures::stream::iter(scanned.map(Ok)));
        let found = parts.map_ok(|part| self.found_in(part, table, &sought)).try_buffered(at_once());
        let mut found = std::pin::pin!(found);
        while let Some(found) = found.try_next().await? {
            for number in found {
                remembered.mark(number);
            }
            if remembered.are_all() {
                break;
            }
        }
        Ok(remembered)
    }

    async fn found_in(&self, part: Part, table: &Table, sought: &Arc<Sought>) -> Result<Vec<usize>> {
        match part {
            Part::Group(source, group) => {
                let columns = sought.columns();
                if !source.may_hold(group, &sought.probes, &columns).await? {
                    return Ok(Vec::new());
                }
                let found_in_rows = |rows| {
                    let (source, sought, columns) = (&source, Arc::clone(sought), &columns);
                    async move {
                        let stored = source.columns_of_rows(group, columns, rows).await?;
                        aside(move || sought.found_in_rows(stored)).await
                    }
                };
                let parts = futures::stream::iter(source.parts(group, &columns)).map(found_in_rows);
                parts.buffered(PARTS_AT_ONCE).try_concat().await
            }
            Part::Files(files) if files.is_empty() => Ok(Vec::new()),
            Part::Files(files) => self.found_in_files(&files, table, sought).await,
        }
    }

    async fn found_in_files(&self, files: &[DataFile], table: &Table, sought: &Sought) -> Result<Vec<usize>> {
        let rows = table.provider_of(files).await?;
        let mut frame = self.lake.engine().session().read_table(rows).map_err(LakeError::query)?;
        let schema = table.schema();
        if let Some(horizon) = sought.horizon_in(&schema) {
            frame = frame.filter(horizon.predicate(&schema)).map_err(LakeError::query)?;
        }
        let columns = sought.columns().into_iter().filter(|name| schema.index_of(name).is_ok());
        let columns: Vec<Expr> = columns.map(ident).collect();
        let frame = frame.select(columns).map_err(LakeError::query)?;
        let mut rows = frame.execute_stream().await.map_err(LakeError::query)?;
        let mut found = Vec::new();
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            found.extend(sought.find(&batch)?);
        }
        Ok(found)
    }
}

impl Fresh {
    /// No keys yet, of rows of the target's schema.
    pub(super) fn new(keys: &Arc<Keys>, schema: &SchemaRef) -> Self {
        let values = Gathered::new(keys.columns().iter().map(|at| schema.field(*at)));
        Self { keys: Arc::clone(keys), wanted: KeySet::default(), hashes: KeyHashes::default(), values }
    }

    /// Adds keys, given by their columns, in the order of [`Keys::columns`] and of the target's types.
    pub(super) fn add(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.keys.each(columns, |key| {
            if let Some(key) = key {
                self.wanted.insert(key);
            }
        })?;
        self.hashes.add(columns)?;
        let rows = columns.first().map_or(0, |column| column.len());
        self.values.add(columns, 0..rows)?;
        if self.keys.null_is_a_value() {
            let with_nulls = columns.iter().enumerate().filter(|(_, values)| values.null_count() > 0);
            with_nulls.for_each(|(column, _)| self.values.add_null(column));
        }
        Ok(())
    }
}

impl Sought {
    fn new(fresh: Fresh, target: &SchemaRef, horizon: Option<Horizon>) -> Result<Self> {
        let Fresh { keys, wanted, hashes, values } = fresh;
        let spread = values.sorted();
        let schema = Arc::new(target.project(keys.columns()).map_err(LakeError::arrow)?);
        Ok(Self {
            schema,
            probes: spread.probes(),
            sieve: hashes.sieve(),
            wanted: Arc::new(wanted),
            keys,
            horizon,
            spread,
        })
    }

    /// The columns that are read.
    fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        columns.extend(self.horizon.iter().map(Horizon::column).filter(|time| self.schema.index_of(time).is_err()));
        columns
    }

    /// What rows with one of the keys that aren't beyond the horizon fulfil, in a table of this schema.
    fn condition(&self, schema: &SchemaRef) -> Option<Condition> {
        let timely = self.horizon_in(schema).and_then(|horizon| horizon.condition(schema));
        self.spread.condition(schema).into_iter().chain(timely).reduce(Condition::and)
    }

    /// The horizon, if a table of this schema has the column.
    fn horizon_in(&self, schema: &SchemaRef) -> Option<&Horizon> {
        self.horizon.as_ref().filter(|horizon| schema.index_of(horizon.column()).is_ok())
    }

    /// Whether the columns stand in the table's files. Of whole rows they may be of any type, and are scanned as rows are.
    fn are_stored_in(&self, table: &Table) -> bool {
        let partitioned_by = table.partitioned_by();
        !self.keys.null_is_a_value() && !self.columns().iter().any(|name| partitioned_by.iter().any(|by| by == name))
    }

    fn may_be_in(&self, file: &DataFile) -> bool {
        self.spread.may_be_in(file) && self.horizon.as_ref().is_none_or(|horizon| horizon.may_be_in(file))
    }

    fn parts(&self, file: DataFile, source: Option<Source>) -> Vec<Part> {
        let Some(source) = source else { return vec![Part::Files(vec![file])] };
        let may_hold = |at: &usize| {
            let group = source.group(*at);
            self.spread.may_be_within(|name| bounds(group, name))
                && self.horizon.as_ref().is_none_or(|horizon| horizon.may_be_in_group(group))
        };
        source.groups().filter(may_hold).map(|group| Part::Group(source.clone(), group)).collect()
    }

    fn found_in_rows(&self, stored: Stored) -> Result<Vec<usize>> {
        let mut found = Vec::new();
        for batch in stored.decode(None)? {
            found.extend(self.find(&batch?)?);
        }
        Ok(found)
    }

    /// The numbers of those wanted keys that are among these rows.
    fn find(&self, rows: &RecordBatch) -> Result<Vec<usize>> {
        let times = self.horizon.as_ref().map(|horizon| horizon.times(rows)).transpose()?.flatten();
        let is_past = |row| self.horizon.as_ref().is_some_and(|horizon| horizon.is_past(times.as_ref(), row));
        self.keys.find(align(rows, &self.schema)?.columns(), (&self.wanted, &self.sieve), is_past)
    }
}
