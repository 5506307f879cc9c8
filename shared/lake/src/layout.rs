//! How the files of a table are to lie: how large, and in which order their rows.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use deltalake::kernel::Add;
use headwater_core::clustering::{cube_size, plan_cubes};
use headwater_core::compaction::{Candidate, Policy, plan_bins, spare_hot};
use headwater_core::model::{Dedup, Pipeline};
use headwater_core::name::DatasetName;
use headwater_core::slices::in_time;
use uuid::Uuid;

use crate::align::position;
use crate::data_file::Partition;
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::table::{DataFile, Table};

/// Into so many files goes, where rows are changed, what is one file elsewhere.
const SMALLER_WHERE_CHANGED: u64 = 4;

/// The tag of a data file that names its cube: what it was sorted with.
const CUBE: &str = "headwater.cube";

/// The tag that names the columns by which it was sorted, as JSON.
const CLUSTERED_BY: &str = "headwater.clusteredBy";

/// Which files of a table are to be written anew.
#[derive(Debug, Clone, Default)]
pub struct Bins {
    /// Files that are to be written anew together.
    pub bins: Vec<Vec<DataFile>>,
    /// How many files are left alone while their partitions are hot.
    pub spared: usize,
}

/// The wanted layout of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The columns by which rows near each other are kept in one file; none for a table that isn't clustered.
    pub clustered_by: Vec<String>,
    /// Bytes of a data file, about.
    pub(crate) file_size: u64,
    /// Rows are changed one by one.
    pub(crate) is_changed: bool,
    /// The columns by whose values rows are looked for.
    pub(crate) keys: Vec<String>,
    policy: Policy,
    cube_size: u64,
}

impl Layout {
    /// The layout of a dataset's table, or of a side table, which is never clustered.
    ///
    /// # Errors
    /// `Invalid` where the table can't be clustered as it is declared.
    pub fn of(pipeline: &Pipeline, name: &DatasetName, table: &Table) -> Result<Self> {
        let declared = pipeline.dataset(name).map(|dataset| dataset.clustered_by.as_slice()).unwrap_or_default();
        let settings = &pipeline.settings;
        let file_size = file_size(pipeline, name);
        Ok(Self {
            clustered_by: ordered_columns(declared, &table.schema())?,
            file_size,
            is_changed: is_changed(pipeline, name),
            keys: keys(pipeline, name, &table.schema()),
            policy: Policy { target_size: file_size, min_files: settings.compact_min_files },
            cube_size: cube_size(file_size, settings.memory_limit),
        })
    }

    /// The files of a table that may be in bins: of one that isn't clustered, the small ones. None, if the totals of
    /// the table tell that they are too few for a bin, so that it needn't read its files.
    ///
    /// # Errors
    /// As [`Table::files`].
    async fn candidates(&self, table: &Table) -> Result<Vec<DataFile>> {
        if !self.clustered_by.is_empty() {
            return table.files().await;
        }
        if let Some(totals) = table.told_totals().await?
            && !self.policy.may_be_worth_it(totals.smaller_than(self.policy.target_size / 2))
        {
            return Ok(Vec::new());
        }
        let is_small = |size: i64| u64::try_from(size).unwrap_or_default() < self.policy.target_size / 2;
        table.files_where(|file| is_small(file.size())).await
    }

    /// The files that are to be written anew together, in bins that can each be done in the time that is left.
    ///
    /// # Errors
    /// As [`Self::candidates`].
    pub async fn bins(&self, table: &Table, left: Option<Duration>) -> Result<Bins> {
        let files = self.candidates(table).await?;
        let hot = match self.is_changed && files.len() > 1 {
            true => table.hot_partitions(Lake::now()).await?,
            false => BTreeSet::new(),
        };
        Ok(self.bins_of(&files, &hot, left))
    }

    fn bins_of(&self, files: &[DataFile], hot: &BTreeSet<Partition>, left: Option<Duration>) -> Bins {
        let tag = self.tag();
        let candidate = |file: &DataFile| Candidate {
            partition: file.partition(),
            size: file.size(),
            pinned: is_pinned(file),
            cube: tag.as_ref().and_then(|tag| cube_of(file, tag)),
        };
        let mut candidates: Vec<_> = files.iter().map(candidate).collect();
        let spared = spare_hot(&mut candidates, hot, self.policy);
        let bins = match tag {
            None => plan_bins(&candidates, self.policy),
            Some(_) => plan_cubes(&candidates, self.policy, in_time(self.cube_size, left).max(self.policy.target_size)),
        };
        let files_of = |bin: Vec<usize>| bin.into_iter().map(|index| files[index].clone()).collect();
        Bins { bins: bins.into_iter().map(files_of).collect(), spared }
    }

    /// How many files a bin becomes, about.
    #[must_use]
    pub fn files_of(&self, bin: &[DataFile]) -> usize {
        if self.clustered_by.is_empty() {
            return 1;
        }
        let bytes: u64 = bin.iter().map(DataFile::size).sum();
        usize::try_from(bytes.div_ceil(self.file_size.max(1))).unwrap_or(usize::MAX).max(1)
    }

    /// Notes in new files of a clustered table that they were sorted together.
    pub(crate) fn mark(&self, adds: &mut [Add]) {
        let Some(columns) = self.tag() else { return };
        let cube = Uuid::new_v4().to_string();
        for add in adds {
            let tags = [(CUBE, &cube), (CLUSTERED_BY, &columns)];
            let tags = tags.map(|(key, value)| (key.to_owned(), Some(value.clone())));
            add.tags = Some(HashMap::from(tags));
        }
    }

    /// The columns as a tag has them.
    fn tag(&self) -> Option<String> {
        (!self.clustered_by.is_empty()).then(|| serde_json::Value::from(self.clustered_by.as_slice()).to_string())
    }
}

/// Bytes of a data file of a dataset or side table, about. A change of a row writes its whole file anew, so that files of
/// what is kept by changes are smaller.
pub(crate) fn file_size(pipeline: &Pipeline, name: &DatasetName) -> u64 {
    pipeline.settings.target_file_size / if is_changed(pipeline, name) { SMALLER_WHERE_CHANGED } else { 1 }
}

/// Whether rows of a dataset or side table are changed one by one.
fn is_changed(pipeline: &Pipeline, name: &DatasetName) -> bool {
    let main = name.main().filter(|main| main.changes() == *name);
    pipeline.flows_into(main.as_ref().unwrap_or(name)).any(|flow| flow.changes.is_some())
}

/// The columns by which rows of a dataset or side table are looked for when others come: those of `headwater.dedup.keys`, and
/// the keys of changes.
pub(crate) fn keys(pipeline: &Pipeline, name: &DatasetName, schema: &SchemaRef) -> Vec<String> {
    let main = name.main().filter(|main| main.changes() == *name);
    let changed = pipeline.flows_into(main.as_ref().unwrap_or(name)).filter_map(|flow| flow.changes.as_ref());
    let unique = pipeline.dataset(name).and_then(|dataset| match &dataset.dedup {
        Some(Dedup::Keys(keys)) => Some(keys),
        Some(Dedup::WholeRow) | None => None,
    });
    let names: BTreeSet<&String> =
        changed.flat_map(|changes| &changes.keys).chain(unique.into_iter().flatten()).collect();
    names.into_iter().filter_map(|name| Some(schema.field(position(schema, name)?).name().clone())).collect()
}

/// The rows of such a file couldn't be rewritten without doubt.
pub(crate) fn is_pinned(file: &DataFile) -> bool {
    file.has_deletion_vector() || file.num_records().is_none()
}

/// Whether values of a type have an order that files can be laid down by.
pub(crate) fn has_order(data_type: &DataType) -> bool {
    !data_type.is_nested()
}

/// The names of these columns in the table.
fn ordered_columns(names: &[String], schema: &SchemaRef) -> Result<Vec<String>> {
    let column = |name: &String| {
        let field = position(schema, name).map(|at| schema.field(at));
        field.filter(|field| has_order(field.data_type())).map(|field| field.name().clone()).ok_or_else(|| {
            LakeError::Configuration {
                message: format!("CLUSTER BY names `{name}`, which is no column that rows can be ordered by"),
                help: "name columns of the table that are neither structs nor lists nor maps".into(),
            }
        })
    };
    names.iter().map(column).collect()
}

fn cube_of(file: &DataFile, columns: &str) -> Option<String> {
    let tags = file.add.tags.as_ref()?;
    let value = |key: &str| tags.get(key).and_then(Option::as_ref);
    value(CUBE).filter(|_| value(CLUSTERED_BY).is_some_and(|by| by == columns)).cloned()
}
