//! The columns of a change, of the table that it changes, and of the side table of changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use headwater_core::cdc::{DELETED, END_AT, GIVEN, SEQUENCE, START_AT, TRUNCATED};
use headwater_core::model::{AutoCdc, ColumnChoice, Dataset, StoredAs};

use crate::align::{grown, joined, position as column};
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
    /// How the columns of the side table may grow: as those of the target.
    growth: Growth,
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
    /// The shape of changes of a target as it is planned; `given` are the columns of the query.
    pub(super) fn new(
        changes: &AutoCdc,
        target: &TablePlan,
        given: &SchemaRef,
        side: Option<&SchemaRef>,
    ) -> Result<Self> {
        let hidden = HIDDEN.iter().filter_map(|name| given.field_with_name(name).ok()).cloned();
        let mut hidden: Vec<Field> = hidden.map(|field| field.with_nullable(true)).collect();
        if let Some(kept) = side.and_then(|side| side.field_with_name(SEQUENCE).ok()) {
            hidden[0] = same_sequence(&hidden[0], kept, target.growth)?;
        }
        let columns = target.schema.fields().len();
        let fields = target.schema.fields().iter().map(|field| field.as_ref().clone()).chain(hidden);
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
            growth: target.growth,
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

    /// The side table of changes; one that holds none yet isn't given.
    pub(super) fn side(&self, dataset: &Dataset, path: String, table: Option<&Table>) -> Result<TablePlan> {
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
        if let Some(other) = table.and_then(|table| table.property(KEPT)).filter(|other| *other != kept) {
            return Err(LakeError::Configuration {
                message: format!("`{}` is kept by changes of {kept} here, but of {other} in the lake", dataset.name),
                help: format!("give KEYS and STORED AS as they were, or run --full-refresh={}", dataset.name),
            });
        }
        Ok(TablePlan {
            path,
            schema: table
                .map_or_else(|| SchemaRef::clone(&wanted), |table| grown(&table.schema(), &wanted, self.growth)),
            partitioned_by: Vec::new(),
            keys: self.key_names().into_iter().map(str::to_owned).collect(),
            configuration: BTreeMap::from([(KEPT.to_owned(), kept)]),
            comment: None,
            growth: self.growth,
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

/// A column that a clause names, and that the source doesn't give.
#[derive(Debug)]
pub(in crate::flow) struct UnknownColumn {
    pub(in crate::flow) clause: &'static str,
    pub(in crate::flow) name: String,
    /// The columns that there are.
    pub(in crate::flow) known: Vec<String>,
}

/// The first column of any clause that isn't among those that the source's query gives.
pub(in crate::flow) fn unknown_column(changes: &AutoCdc, given: &SchemaRef) -> Option<UnknownColumn> {
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
    let is_unknown = |name: &&String| !shown(given).any(|field| field.name().eq_ignore_ascii_case(name));
    let found = clauses.into_iter().find_map(|(clause, names)| Some((clause, names.iter().find(is_unknown)?)));
    let (clause, name) = found?;
    Some(UnknownColumn { clause, name: name.clone(), known: shown(given).map(|field| field.name().clone()).collect() })
}

/// The columns of a source's query that aren't hidden.
fn shown(given: &SchemaRef) -> impl Iterator<Item = &Arc<Field>> {
    given.fields().iter().filter(|field| !HIDDEN.contains(&field.name().as_str()))
}

/// The columns of a target, from those that the source's query gives, the hidden ones among them. Where the target declares
/// its columns, and the flow doesn't list them, those that aren't declared are left out: a source may grow.
pub(in crate::flow) fn target_columns(changes: &AutoCdc, given: &SchemaRef, dataset: &Dataset) -> Result<SchemaRef> {
    if let Some(UnknownColumn { clause, name, known }) = unknown_column(changes, given) {
        return Err(LakeError::Configuration {
            message: format!("{clause} names `{name}`, which is no column of the source of changes"),
            help: format!("columns: {}", known.join(", ")),
        });
    }
    let sequence = given.field_with_name(SEQUENCE).map_err(LakeError::arrow)?.data_type();
    let mut fields: Vec<Field> = shown(given)
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

/// The columns of a query of changes, in the types that the target and its side table have, or that theirs may grow to. The side
/// table may be wider than the target, if a batch died between its commit and the target's.
pub(super) fn in_kept_types(given: &SchemaRef, kept: &[SchemaRef], growth: Growth) -> SchemaRef {
    let wider = |field: Arc<Field>, kept: &SchemaRef| match column(kept, field.name()) {
        Some(at) => Arc::new(field.as_ref().clone().with_data_type(in_kept_type(
            field.data_type(),
            kept.field(at).data_type(),
            growth,
        ))),
        None => field,
    };
    let fields = given.fields().iter().map(|field| kept.iter().fold(Arc::clone(field), wider));
    Arc::new(Schema::new(fields.collect::<Fields>()))
}

fn in_kept_type(given: &DataType, kept: &DataType, growth: Growth) -> DataType {
    let (DataType::Struct(given), DataType::Struct(kept)) = (given, kept) else {
        return joined(kept, given, growth).unwrap_or_else(|| given.clone());
    };
    let wider = |field: &Arc<Field>| {
        let kept = kept.iter().find(|kept| kept.name().eq_ignore_ascii_case(field.name()));
        let data_type = kept.map(|kept| in_kept_type(field.data_type(), kept.data_type(), growth));
        Arc::new(field.as_ref().clone().with_data_type(data_type.unwrap_or_else(|| field.data_type().clone())))
    };
    DataType::Struct(given.iter().map(wider).collect())
}

/// The sequence of changes that are held against those so far. Its parts are compared one after the other, so that they stay
/// the same ones.
fn same_sequence(new: &Field, kept: &Field, growth: Growth) -> Result<Field> {
    let same_parts = Some(kept.data_type()).filter(|kept| has_same_fields(kept, new.data_type()));
    if let Some(data_type) = same_parts.and_then(|kept| joined(kept, new.data_type(), growth)) {
        return Ok(kept.clone().with_data_type(data_type));
    }
    Err(LakeError::Configuration {
        message: format!("SEQUENCE BY gives {}, but the changes so far have {}", new.data_type(), kept.data_type()),
        help: "cast it to that type, or rebuild the table with --full-refresh".into(),
    })
}

/// Whether structs have fields of the same names in the same order, at all depths.
fn has_same_fields(first: &DataType, second: &DataType) -> bool {
    match (first, second) {
        (DataType::Struct(first), DataType::Struct(second)) => {
            let same = |(first, second): (&Arc<Field>, &Arc<Field>)| {
                first.name() == second.name() && has_same_fields(first.data_type(), second.data_type())
            };
            first.len() == second.len() && first.iter().zip(second).all(same)
        }
        _ => true,
    }
}

fn position(schema: &SchemaRef, name: &str) -> Result<usize> {
    column(schema, name).ok_or_else(|| LakeError::Configuration {
        message: format!("changes need column `{name}`, which the table doesn't have"),
        help: "declare it among the table's columns, or declare none".into(),
    })
}
