//! The columns of a change, of the table that it changes, and of the side table of changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use headwater_core::cdc::{DELETED, END_AT, GIVEN, SEQUENCE, START_AT, TRUNCATED};
use headwater_core::model::{AutoCdc, ColumnChoice, Dataset, StoredAs};

use crate::align::{fits, merged};
use crate::error::{LakeError, Result};
use crate::flow::outlet::TablePlan;
use crate::table::Table;
use crate::widening::Growth;

/// When a change was put into the side table.
pub(super) const RECORDED_AT: &str = "__headwater_recorded_at";

/// The property of the side table that tells what its rows are.
const KEPT: &str = "headwater.cdc.kept";

pub(super) const HIDDEN: [&str; 4] = [SEQUENCE, DELETED, TRUNCATED, GIVEN];

/// Where what is in a change: positions in [`Shape::wide`].
#[derive(Debug)]
pub(super) struct Shape {
    /// The target's columns, then the hidden ones.
    pub(super) wide: SchemaRef,
    /// How many columns the target has.
    pub(super) columns: usize,
    pub(super) keys: Vec<usize>,
    pub(super) sequence: usize,
    pub(super) deleted: usize,
    pub(super) truncated: Option<usize>,
    pub(super) given: Option<usize>,
    /// For each column of the target whether a NULL leaves it alone.
    pub(super) ignores: Vec<bool>,
    /// An upsert may leave columns alone.
    pub(super) is_partial: bool,
    /// `None` where the last state alone is kept.
    pub(super) history: Option<Ends>,
}

/// The columns of a history.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Columns of which a change makes a new state.
    pub(super) tracked: Vec<usize>,
}

impl Shape {
    /// The shape of changes of a target with these columns; `given` are those of the query.
    pub(super) fn new(changes: &AutoCdc, target: &SchemaRef, given: &SchemaRef, side: Option<&Table>) -> Result<Self> {
        let hidden = HIDDEN.iter().filter_map(|name| given.field_with_name(name).ok()).cloned();
        let mut hidden: Vec<Field> = hidden.map(|field| field.with_nullable(true)).collect();
        if let Some(kept) = side.and_then(|side| side.schema().field_with_name(SEQUENCE).cloned().ok()) {
            hidden[0] = same_sequence(&hidden[0], &kept)?;
        }
        let columns = target.fields().len();
        let fields = target.fields().iter().map(|field| field.as_ref().clone()).chain(hidden);
        let wide: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let at = |name: &str| position(&wide, name);
        let history = match &changes.stored_as {
            StoredAs::Latest => None,
            StoredAs::History { tracked } => {
                let (start, end) = (at(START_AT)?, at(END_AT)?);
                let is_tracked = |column: &usize| tracked.holds(wide.field(*column).name());
                let tracked = (0..columns).filter(|column| ![start, end].contains(column)).filter(is_tracked).collect();
                Some(Ends { start, end, tracked })
            }
        };
        let keys = changes.keys.iter().map(|key| at(key)).collect::<Result<Vec<_>>>()?;
        let ignores = |column: usize| {
            !keys.contains(&column)
                && changes.ignore_null_updates.as_ref().is_some_and(|some| some.holds(wide.field(column).name()))
        };
        Ok(Self {
            columns,
            sequence: at(SEQUENCE)?,
            deleted: at(DELETED)?,
            truncated: at(TRUNCATED).ok(),
            given: at(GIVEN).ok(),
            ignores: (0..columns).map(ignores).collect(),
            is_partial: changes.is_partial(),
            history,
            keys,
            wide,
        })
    }

    /// Whether the side table holds whole changes, rather than their keys alone: their values are needed
    /// again when a change comes in between.
    pub(super) const fn keeps_values(&self) -> bool {
        self.is_partial || self.history.is_some()
    }

    /// Upserts as the states of a history that they begin.
    pub(super) fn started(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let Some(ends) = &self.history else { return Ok(rows) };
        let mut columns = rows.columns().to_vec();
        columns[ends.start] =
            cast(&columns[self.sequence], self.wide.field(ends.start).data_type()).map_err(LakeError::arrow)?;
        RecordBatch::try_new(rows.schema(), columns).map_err(LakeError::arrow)
    }

    /// The names of the key columns.
    pub(super) fn key_names(&self) -> Vec<&str> {
        self.keys.iter().map(|at| self.wide.field(*at).name().as_str()).collect()
    }

    /// The schema of the key columns alone.
    pub(super) fn key_schema(&self) -> Result<SchemaRef> {
        self.wide.project(&self.keys).map(Arc::new).map_err(LakeError::arrow)
    }

    /// The schema of the sequence alone.
    pub(super) fn sequence_schema(&self) -> Result<SchemaRef> {
        self.wide.project(&[self.sequence]).map(Arc::new).map_err(LakeError::arrow)
    }

    /// The side table of changes.
    pub(super) async fn side(&self, dataset: &Dataset, path: String, table: Option<&Table>) -> Result<TablePlan> {
        let is_kept = |at: &usize| match &self.history {
            _ if !self.keeps_values() => self.keys.contains(at),
            Some(ends) => ![ends.start, ends.end].contains(at),
            None => true,
        };
        let values = (0..self.columns).filter(is_kept);
        let hidden = [Some(self.sequence), Some(self.deleted), self.given].into_iter().flatten();
        let fields = values.chain(hidden).map(|at| self.wide.field(at).clone().with_nullable(true));
        let recorded = Field::new(RECORDED_AT, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true);
        let wanted: SchemaRef = Arc::new(Schema::new(fields.chain([recorded]).collect::<Vec<_>>()));
        let kept = self.kept();
        let filled = match table {
            Some(table) => table.is_empty().await.is_ok_and(|is_empty| !is_empty).then_some(table),
            None => None,
        };
        if let Some(other) = filled.and_then(|table| table.property(KEPT)).filter(|other| *other != kept) {
            return Err(LakeError::Configuration {
                message: format!("`{}` is kept by changes of {kept} here, but of {other} in the lake", dataset.name),
                help: format!("give KEYS and STORED AS as they were, or run --full-refresh={}", dataset.name),
            });
        }
        Ok(TablePlan {
            path,
            schema: filled.map_or_else(|| SchemaRef::clone(&wanted), |table| merged(&table.schema(), &wanted)),
            partitioned_by: Vec::new(),
            keys: self.key_names().into_iter().map(str::to_owned).collect(),
            configuration: BTreeMap::from([(KEPT.to_owned(), kept)]),
            comment: None,
            growth: Growth::Columns,
        })
    }

    /// What the rows of the side table are, in words.
    fn kept(&self) -> String {
        let what = match (&self.history, self.is_partial) {
            (Some(_), _) => "every state",
            (None, true) => "the last state, column by column,",
            (None, false) => "the last state",
        };
        format!("{what} by {}", self.key_names().join(", "))
    }
}

/// The columns of a target, from those that the source's query gives, the hidden ones among them. Where the target declares
/// its columns, and the flow doesn't list them, those that aren't declared are left out: a source may grow.
pub(in crate::flow) fn target_columns(changes: &AutoCdc, given: &SchemaRef, dataset: &Dataset) -> Result<SchemaRef> {
    let shown: Vec<&Arc<Field>> =
        given.fields().iter().filter(|field| !HIDDEN.contains(&field.name().as_str())).collect();
    let tracked = match &changes.stored_as {
        StoredAs::Latest => &[][..],
        StoredAs::History { tracked } => tracked.names(),
    };
    let ignoring = changes.ignore_null_updates.as_ref().map_or(&[][..], |some| some.names());
    let clauses = [
        ("KEYS", changes.keys.as_slice()),
        ("COLUMNS", changes.columns.names()),
        ("IGNORE NULL UPDATES", ignoring),
        ("TRACK HISTORY", tracked),
    ];
    for (clause, names) in clauses {
        let is_unknown = |name: &&String| !shown.iter().any(|field| field.name().eq_ignore_ascii_case(name));
        if let Some(name) = names.iter().find(is_unknown) {
            let known = shown.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
            return Err(LakeError::Configuration {
                message: format!("{clause} names `{name}`, which is no column of the source of changes"),
                help: format!("columns: {known}"),
            });
        }
    }
    let sequence = given.field_with_name(SEQUENCE).map_err(LakeError::arrow)?.data_type();
    let mut fields: Vec<Field> = shown
        .into_iter()
        .filter(|field| changes.columns.holds(field.name()) && !is_left_out(field.name(), changes, dataset))
        .map(|field| field.as_ref().clone())
        .collect();
    if matches!(changes.stored_as, StoredAs::History { .. }) {
        fields.extend([START_AT, END_AT].map(|name| Field::new(name, sequence.clone(), true)));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Whether a column of the source is meant by `*`, but isn't one that the target declares.
pub(in crate::flow) fn is_left_out(name: &str, changes: &AutoCdc, dataset: &Dataset) -> bool {
    let is_declared = || dataset.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    let is_hidden = HIDDEN.contains(&name);
    let is_meant = !matches!(changes.columns, ColumnChoice::Only(_)) && changes.columns.holds(name) && !is_hidden;
    is_meant && !dataset.columns.is_empty() && !is_declared()
}

fn same_sequence(new: &Field, kept: &Field) -> Result<Field> {
    if fits(new.data_type(), kept.data_type()) {
        return Ok(kept.clone());
    }
    Err(LakeError::Configuration {
        message: format!("SEQUENCE BY gives {}, but the changes so far have {}", new.data_type(), kept.data_type()),
        help: "cast it to that type, or rebuild the table with --full-refresh".into(),
    })
}

fn position(schema: &SchemaRef, name: &str) -> Result<usize> {
    let exact = schema.index_of(name).ok();
    let found = exact.or_else(|| schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name)));
    found.ok_or_else(|| LakeError::Configuration {
        message: format!("changes need column `{name}`, which the table doesn't have"),
        help: "declare it among the table's columns, or declare none".into(),
    })
}
