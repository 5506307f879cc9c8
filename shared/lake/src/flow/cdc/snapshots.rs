//! Snapshots as changes: how each differs from the one before.
//!
//! The rows of a batch with one value of `SEQUENCE BY` are one snapshot. The first is held against the
//! target's present rows, each later one against the one before it: a row that is new or differs is an upsert, one
//! that isn't there any more a delete, both at the snapshot's place in the sequence. What comes of them is
//! what would come of such changes from anywhere, so that a batch that died may run again.
//!
//! A snapshot that isn't later than the last one says nothing. The side table knows the last one by a row
//! without a key, its *mark*. When a batch that has made a mark runs again, since the target lacks it, its own mark
//! doesn't count.

use arrow::array::ArrayRef;
use arrow::compute::concat_batches;
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, JoinType, Operator, binary_expr, cast, ident, lit, when};
use headwater_core::cdc::{DELETED, END_AT, SEQUENCE};
use headwater_core::model::{AutoCdc, ChangeSource, StoredAs};

use super::filled;
use super::shape::{HIDDEN, in_kept_types};
use crate::engine::storable_schema;
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;
use crate::flow::target::Pinned;
use crate::table::{DataFile, Table};

/// The changes of a batch, wherever they come from.
#[derive(Debug)]
pub(in crate::flow) struct Given {
    /// Their columns.
    pub(super) columns: SchemaRef,
    /// What gives them, one after the other.
    pub(super) frames: Vec<DataFrame>,
    /// The mark of the last snapshot, one value of `SEQUENCE BY`.
    pub(super) mark: Option<ArrayRef>,
    /// Rows of snapshots that aren't later than the last one.
    pub(super) stale: u64,
}

impl FlowRun<'_> {
    /// The changes that the rows of a batch are, or that they amount to. `is_known` tells that an earlier attempt
    /// of the batch has written the side table.
    pub(in crate::flow) async fn given(
        &self,
        changes: &AutoCdc,
        frame: DataFrame,
        pinned: &Pinned,
        is_known: bool,
    ) -> Result<Given> {
        let mut kept = Vec::new();
        for table in [&pinned.main, &pinned.changes] {
            kept.extend(filled(table.as_ref()).await?.map(Table::schema));
        }
        let growth = self.growth_of(pinned.main.as_ref());
        let columns = in_kept_types(&storable_schema(frame.schema().inner()), &kept, growth);
        match changes.source {
            ChangeSource::Changes => Ok(Given { columns, frames: vec![frame], mark: None, stale: 0 }),
            ChangeSource::Snapshots => self.differences(changes, (frame, columns), pinned, is_known).await,
        }
    }

    async fn differences(
        &self,
        changes: &AutoCdc,
        (frame, columns): (DataFrame, SchemaRef),
        pinned: &Pinned,
        is_known: bool,
    ) -> Result<Given> {
        let present = storable_schema(frame.schema().inner());
        let wide = columns.fields().iter().map(|field| in_type(field, &present));
        let frame = frame.clone().select(wide.collect::<Vec<_>>()).map_err(LakeError::query)?;
        let last = self.last_mark(changes, pinned.changes.as_ref(), is_known).await?;
        let sequence = columns.field_with_name(SEQUENCE).map_err(LakeError::arrow)?.data_type();
        let last = last.and_then(|last| last.cast_to(sequence).ok());
        let mut given = Given { columns, frames: Vec::new(), mark: None, stale: 0 };
        let nowhere = frame.clone().filter(ident(SEQUENCE).is_null()).map_err(LakeError::query)?;
        given.frames.push(nowhere);
        let mut before = self.present(changes, pinned.main.as_ref()).await?;
        for place in places(&frame).await? {
            let of_snapshot = frame.clone().filter(ident(SEQUENCE).eq(lit(place.clone()))).map_err(LakeError::query)?;
            if last.as_ref().is_some_and(|last| place <= *last) {
                given.stale += of_snapshot.count().await.map_err(LakeError::query)? as u64;
                continue;
            }
            given.frames.push(match before {
                Some(before) => difference(changes, &given.columns, (of_snapshot.clone(), &before), &place)?,
                None => of_snapshot.clone(),
            });
            before = Some(of_snapshot);
            given.mark = Some(place.to_array().map_err(LakeError::query)?);
        }
        Ok(given)
    }

    /// The rows that the target shows now; of a history the open states.
    async fn present(&self, changes: &AutoCdc, main: Option<&Table>) -> Result<Option<DataFrame>> {
        let Some(table) = main else { return Ok(None) };
        let frame = self.session().read_table(table.provider().await?);
        let frame = match changes.stored_as {
            StoredAs::History { .. } => frame.and_then(|frame| frame.filter(ident(END_AT).is_null())),
            StoredAs::Latest => frame,
        };
        frame.map(Some).map_err(LakeError::query)
    }

    /// The place of the last snapshot in the sequence.
    async fn last_mark(&self, changes: &AutoCdc, side: Option<&Table>, is_known: bool) -> Result<Option<ScalarValue>> {
        let Some(table) = side else { return Ok(None) };
        let schema = table.schema();
        let is_key = |name: &str| name.eq_ignore_ascii_case(&changes.keys[0]);
        let Some(key) = schema.fields().iter().find(|field| is_key(field.name())) else { return Ok(None) };
        let with_marks: Vec<DataFile> =
            table.files().await?.into_iter().filter(|file| file.may_hold_null(key.name())).collect();
        let frame = self.session().read_table(table.provider_of(&with_marks).await?).map_err(LakeError::query)?;
        let marks = frame.filter(ident(key.name()).is_null()).map_err(LakeError::query)?;
        let mut marks = places(&marks).await?;
        if is_known {
            marks.pop();
        }
        Ok(marks.pop())
    }
}

/// A column of a frame, in the type that it is to have.
fn in_type(field: &FieldRef, present: &SchemaRef) -> Expr {
    let column = ident(field.name());
    match present.field_with_name(field.name()) {
        Ok(present) if present.data_type() == field.data_type() => column,
        Ok(_) | Err(_) => cast(column, field.data_type().clone()).alias(field.name()),
    }
}

/// The values of `SEQUENCE BY`, each once, in order.
async fn places(frame: &DataFrame) -> Result<Vec<ScalarValue>> {
    let found = frame.clone().select(vec![ident(SEQUENCE)]).and_then(|frame| {
        frame.filter(ident(SEQUENCE).is_not_null())?.distinct()?.sort(vec![ident(SEQUENCE).sort(true, true)])
    });
    let batches = found.map_err(LakeError::query)?.collect().await.map_err(LakeError::query)?;
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let places = concat_batches(&first.schema(), &batches).map_err(LakeError::arrow)?;
    let place = |row| ScalarValue::try_from_array(places.column(0), row).map_err(LakeError::query);
    (0..places.num_rows()).map(place).collect()
}

/// What makes one state of a table another.
fn difference(
    changes: &AutoCdc,
    columns: &SchemaRef,
    (now, before): (DataFrame, &DataFrame),
    place: &ScalarValue,
) -> Result<DataFrame> {
    const NOW: &str = "__now";
    const BEFORE: &str = "__before";
    let of = |side: &str, at: usize| format!("{side}_{at}");
    let is_key = |name: &str| changes.keys.iter().any(|key| key.eq_ignore_ascii_case(name));
    let is_compared = |name: &str| !HIDDEN.contains(&name) && changes.columns.holds(name);
    let fields = || columns.fields().iter().enumerate();

    let shown = fields().map(|(at, field)| ident(field.name()).alias(of(NOW, at)));
    let now = now.select(shown.chain([lit(true).alias(NOW)]).collect::<Vec<_>>());
    let old = |name: &str| {
        let known = before.schema().fields().iter().find(|field| field.name().eq_ignore_ascii_case(name));
        known.map_or_else(|| lit(ScalarValue::Null), |known| ident(known.name()))
    };
    let shown = fields().filter(|(_, field)| is_compared(field.name()) || is_key(field.name()));
    let shown = shown.map(|(at, field)| cast(old(field.name()), field.data_type().clone()).alias(of(BEFORE, at)));
    let has_key = changes.keys.iter().map(|key| old(key).is_not_null()).reduce(Expr::and).unwrap_or_else(|| lit(true));
    // What has no key was put aside when it came.
    let before = before
        .clone()
        .filter(has_key)
        .map_err(LakeError::query)?
        .select(shown.chain([lit(true).alias(BEFORE)]).collect::<Vec<_>>());

    let keys: Vec<usize> = fields().filter(|(_, field)| is_key(field.name())).map(|(at, _)| at).collect();
    let [left, right] = [NOW, BEFORE].map(|side| keys.iter().map(|at| of(side, *at)).collect::<Vec<_>>());
    let [left, right] = [&left, &right].map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
    let is_gone = || ident(NOW).is_null();
    let differs = |at| binary_expr(ident(of(NOW, at)), Operator::IsDistinctFrom, ident(of(BEFORE, at)));
    let compared = fields().filter(|(_, field)| is_compared(field.name()) && !is_key(field.name()));
    let is_changed = compared.fold(is_gone().or(ident(BEFORE).is_null()), |any, (at, _)| any.or(differs(at)));
    let result = |(at, field): (usize, &FieldRef)| -> datafusion::error::Result<Expr> {
        let value = match field.name().as_str() {
            SEQUENCE => cast(lit(place.clone()), field.data_type().clone()),
            DELETED => is_gone(),
            name if is_key(name) => when(is_gone(), ident(of(BEFORE, at))).otherwise(ident(of(NOW, at)))?,
            _ => ident(of(NOW, at)),
        };
        Ok(value.alias(field.name()))
    };
    let joined = now.and_then(|now| now.join(before?, JoinType::Full, &left, &right, None)?.filter(is_changed));
    let results = fields().map(result).collect::<datafusion::error::Result<Vec<_>>>();
    joined.and_then(|joined| joined.select(results?)).map_err(LakeError::query)
}
