//! Shadows: tables that are built anew beside those in use.
//!
//! A shadow lies at `_headwater/shadow/<layer>/<dataset>`, with its side tables. A lake that *shadows* some datasets
//! reads and writes their shadows in place of them, and everything else where it is; its functions needn't know.
//! Nobody else reads shadows. `flow/promote` puts one in the place of its table.
//!
//! All shadows that there are were built together: a reader's progress counts versions of its source's shadow.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{Expr, ident, lit, try_cast, when};
use futures::TryStreamExt;
use headwater_core::model::Pipeline;
use headwater_core::name::DatasetName;
use headwater_core::provenance::METADATA;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::table::Table;

/// Where shadows lie.
const FOLDER: &str = "_headwater/shadow";

/// How a table and its shadow differ; a row that is there twice counts twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The dataset.
    pub dataset: DatasetName,
    /// Rows that both have.
    pub same: u64,
    /// Rows that only the table has.
    pub only_now: u64,
    /// Rows that only the shadow has.
    pub only_shadow: u64,
    /// Columns that only the shadow has; they aren't compared.
    pub added: Vec<String>,
    /// Columns that only the table has; they aren't compared.
    pub removed: Vec<String>,
}

/// The side tables of a dataset.
pub(crate) fn sides_of(name: &DatasetName) -> [DatasetName; 3] {
    [name.quarantine(), name.late(), name.changes()]
}

impl Lake {
    /// Opens the lake of a pipeline with the shadows of these datasets in place of them.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_shadows(pipeline: Pipeline, project: &Path, names: BTreeSet<DatasetName>) -> Result<Self> {
        Ok(Self::open(pipeline, project)?.shadowing(names))
    }

    /// The datasets that have a shadow.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be read.
    pub async fn shadows(&self) -> Result<Vec<DatasetName>> {
        let mut found = Vec::new();
        for dataset in self.pipeline().datasets.iter().filter(|dataset| dataset.kind.has_table()) {
            if self.shadow(&dataset.name).await?.is_some() {
                found.push(dataset.name.clone());
            }
        }
        Ok(found)
    }

    /// The shadow of a dataset or side table, if there is one.
    pub(crate) async fn shadow(&self, name: &DatasetName) -> Result<Option<Table>> {
        Table::open(self.storage(), &self.shadow_path(name)?).await
    }

    pub(crate) fn shadow_path(&self, name: &DatasetName) -> Result<String> {
        let path = self.pipeline().table_path(name).map(|path| format!("{FOLDER}/{path}"));
        path.ok_or_else(|| LakeError::Configuration {
            message: format!("`{name}` has no table"),
            help: "name a streaming table or a materialized view".into(),
        })
    }

    /// Deletes all shadows, as those that are built later don't fit them.
    ///
    /// # Errors
    /// `Unavailable` when storage fails.
    pub async fn discard_shadows(&self) -> Result<()> {
        self.discard(&self.pipeline().datasets.iter().map(|dataset| &dataset.name).collect()).await?;
        self.delete_folder(FOLDER).await
    }

    /// Deletes the shadows of some datasets, with their side tables. Who dies in between leaves shadows that fit each
    /// other: readers go before their sources, a table before its side tables, its last commit first.
    pub(crate) async fn discard(&self, names: &BTreeSet<&DatasetName>) -> Result<()> {
        let datasets = self.pipeline().datasets.iter().rev().filter(|dataset| dataset.kind.has_table());
        for name in datasets.map(|dataset| &dataset.name).filter(|name| names.contains(name)) {
            for name in [name].into_iter().chain(&sides_of(name)) {
                self.delete_folder(&self.shadow_path(name)?).await?;
            }
        }
        Ok(())
    }

    /// Deletes a folder: log entries from the last to the first, then the rest.
    async fn delete_folder(&self, path: &str) -> Result<()> {
        let failed = |source| LakeError::Storage { action: "can't delete", path: path.to_owned(), source };
        let store = self.storage().object_store();
        let listed = store.list(Some(&self.storage().location(path)));
        let mut objects: Vec<_> = listed.map_ok(|object| object.location).try_collect().await.map_err(failed)?;
        objects.sort_by_key(|location| (!is_of_log(location), Reverse(location.clone())));
        for location in objects {
            store.delete(&location).await.map_err(failed)?;
        }
        Ok(())
    }

    /// How a table and its shadow differ; `None` if it has none. Maps and `_metadata` aren't compared.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be read, `Invalid` when values can't be compared.
    pub async fn difference(&self, name: &DatasetName) -> Result<Option<Difference>> {
        let Some(shadow) = self.shadow(name).await? else { return Ok(None) };
        let now = self.table(name).await?;
        let names = |table: Option<&Table>| {
            let schema = table.map(Table::schema);
            let fields = schema.iter().flat_map(|schema| schema.fields().iter());
            fields.map(|field| field.name().clone()).filter(|name| name != METADATA).collect::<Vec<_>>()
        };
        let (of_now, of_shadow) = (names(now.as_ref()), names(Some(&shadow)));
        let without =
            |all: &[String], others: &[String]| all.iter().filter(|name| !others.contains(name)).cloned().collect();
        let mut difference = Difference {
            dataset: name.clone(),
            same: 0,
            only_now: 0,
            only_shadow: 0,
            added: if now.is_some() { without(&of_shadow, &of_now) } else { Vec::new() },
            removed: without(&of_now, &of_shadow),
        };
        let is_shared = |name: &str| now.is_none() || of_now.iter().any(|known| known == name);
        let columns = shared(&shadow.schema(), now.as_ref().map(Table::schema).as_ref(), is_shared);
        let session = self.engine().session();
        let mut rows =
            marked(session.read_table(shadow.provider().await?).map_err(LakeError::query)?, &columns, false)?;
        if let Some(now) = now {
            let frame = session.read_table(now.provider().await?).map_err(LakeError::query)?;
            rows = rows.union(marked(frame, &columns, true)?).map_err(LakeError::query)?;
        }
        [difference.same, difference.only_now, difference.only_shadow] = counts(rows, &columns).await?;
        Ok(Some(difference))
    }
}

fn is_of_log(location: &object_store::path::Path) -> bool {
    location.as_ref().contains("/_delta_log/")
}

const NOW: &str = "__headwater_now";
const SHADOW: &str = "__headwater_shadow";
const LOST: &str = "__headwater_lost_";

/// A column that can be compared.
#[derive(Debug)]
struct Shared {
    name: String,
    data_type: DataType,
    /// The table has another type there: a value that the shadow's can't hold is like no other.
    is_retyped: bool,
}

impl Shared {
    fn values(&self) -> Vec<Expr> {
        let value = || try_cast(ident(&self.name), self.data_type.clone());
        let is_lost = || value().is_null().and(ident(&self.name).is_not_null()).alias(self.lost());
        let lost = self.is_retyped.then(is_lost);
        [value().alias(&self.name)].into_iter().chain(lost).collect()
    }

    fn groups(&self) -> Vec<Expr> {
        let lost = self.is_retyped.then(|| ident(self.lost()));
        [ident(&self.name)].into_iter().chain(lost).collect()
    }

    fn lost(&self) -> String {
        format!("{LOST}{}", self.name)
    }
}

/// Columns that can be compared.
fn shared(shadow: &SchemaRef, now: Option<&SchemaRef>, is_shared: impl Fn(&str) -> bool) -> Vec<Shared> {
    let is_comparable = |data_type: &DataType| !matches!(data_type, DataType::Map(..));
    let fields = shadow.fields().iter().filter(|field| field.name() != METADATA && is_comparable(field.data_type()));
    let column = |field: &Arc<Field>| {
        let now = now.and_then(|now| now.field_with_name(field.name()).ok());
        Shared {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            is_retyped: now.is_some_and(|now| !now.data_type().equals_datatype(field.data_type())),
        }
    };
    fields.filter(|field| is_shared(field.name())).map(column).collect()
}

/// Rows, each with a mark of where it is.
fn marked(frame: DataFrame, columns: &[Shared], is_now: bool) -> Result<DataFrame> {
    let (now, shadow) = (i64::from(is_now), i64::from(!is_now));
    let values = columns.iter().flat_map(Shared::values);
    let marks = [lit(now).alias(NOW), lit(shadow).alias(SHADOW)];
    frame.select(values.chain(marks).collect::<Vec<_>>()).map_err(LakeError::query)
}

/// How many rows both have, only the table, only the shadow.
async fn counts(rows: DataFrame, columns: &[Shared]) -> Result<[u64; 3]> {
    let (now, shadow) = (|| ident(NOW), || ident(SHADOW));
    let least = when(now().lt(shadow()), now()).otherwise(shadow()).map_err(LakeError::query)?;
    let groups: Vec<Expr> = columns.iter().flat_map(Shared::groups).collect();
    let sums = [NOW, SHADOW].map(|mark| sum(ident(mark)).alias(mark));
    let totals = |least: Expr| {
        [("same", least.clone()), ("now", now() - least.clone()), ("shadow", shadow() - least)]
            .map(|(name, value)| sum(value).alias(name))
    };
    let counted =
        rows.aggregate(groups, sums.to_vec()).and_then(|rows| rows.aggregate(Vec::new(), totals(least).to_vec()));
    let batches = counted.map_err(LakeError::query)?.collect().await.map_err(LakeError::query)?;
    let value = |column: usize| {
        let batch = batches.first().filter(|batch| batch.num_rows() == 1)?;
        let values = batch.column(column).as_primitive_opt::<Int64Type>()?;
        values.is_valid(0).then(|| u64::try_from(values.value(0)).ok())?
    };
    Ok([0, 1, 2].map(|column| value(column).unwrap_or(0)))
}
