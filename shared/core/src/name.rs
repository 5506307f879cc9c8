//! Names of datasets and flows, and the folders of the lake that they map to.
//!
//! Names are compared without case, as Spark does, and kept in lower case. A catalog part of a
//! three-part name is accepted and dropped: one lake is one catalog.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hub::HubIdentity;

/// The layer of a dataset, inferred from what its flows read and never declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Reads an outside source: messages or files.
    Bronze,
    /// Reads a table of the lake with `STREAM`.
    Silver,
    /// A materialized view.
    Gold,
}

impl Layer {
    /// The folder below the lake's root that holds this layer's tables.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder())
    }
}

/// What is after `__` in the name of a side table of changes.
const CHANGES: &str = "changes";

/// What tells of a table's files, behind the table's name.
const FILES_STATE: &str = "cloud_files_state";

/// The name of a dataset: its own name, and a schema when that is not the pipeline's default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct DatasetName {
    schema: Option<String>,
    name: String,
}

impl DatasetName {
    /// A dataset of the default schema.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { schema: None, name: name.to_lowercase() }
    }

    /// A dataset of a schema other than the default.
    #[must_use]
    pub fn with_schema(schema: &str, name: &str) -> Self {
        Self { schema: Some(schema.to_lowercase()), name: name.to_lowercase() }
    }

    /// The schema, `None` for the default.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The name without its schema.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of the table below its layer's folder: `<dataset>` or `<schema>.<dataset>`.
    #[must_use]
    pub fn folder(&self) -> String {
        self.to_string()
    }

    /// The side table that holds undecodable records and rows that failed a `DROP ROW` expectation.
    #[must_use]
    pub fn quarantine(&self) -> Self {
        self.side("quarantine")
    }

    /// The side table that holds rows older than the watermark.
    #[must_use]
    pub fn late(&self) -> Self {
        self.side("late")
    }

    /// The side table that holds the changes which those of a table kept by `AUTO CDC` are held against.
    #[must_use]
    pub fn changes(&self) -> Self {
        self.side(CHANGES)
    }

    /// Whether this is such a side table, which is nobody's to read.
    #[must_use]
    pub fn is_changes(&self) -> bool {
        self.name.strip_suffix(CHANGES).is_some_and(|main| main.ends_with("__"))
    }

    /// What tells of the files that the table has taken in, which is no table but is read as one.
    #[must_use]
    pub fn files_state(&self) -> Self {
        self.side(FILES_STATE)
    }

    /// Whether this is what tells of a table's files.
    #[must_use]
    pub fn is_files_state(&self) -> bool {
        self.name.strip_suffix(FILES_STATE).is_some_and(|main| main.ends_with("__"))
    }

    /// The dataset that this one is a side table of, if it is one.
    #[must_use]
    pub fn main(&self) -> Option<Self> {
        ["__quarantine", "__late", "__changes", "__cloud_files_state"].iter().find_map(|suffix| {
            let name = self.name.strip_suffix(suffix)?;
            Some(Self { schema: self.schema.clone(), name: name.to_owned() })
        })
    }

    fn side(&self, suffix: &str) -> Self {
        Self { schema: self.schema.clone(), name: format!("{}__{suffix}", self.name) }
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl From<DatasetName> for String {
    fn from(name: DatasetName) -> Self {
        name.to_string()
    }
}

impl From<String> for DatasetName {
    fn from(text: String) -> Self {
        match text.rsplit_once('.') {
            Some((schema, name)) => Self::with_schema(schema, name),
            None => Self::new(&text),
        }
    }
}

/// The name of a flow; the identity of its progress. The default flow of a dataset bears the
/// dataset's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlowName(String);

impl FlowName {
    /// A flow's name, in lower case.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_lowercase())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `app_id` of the Delta `txn` action that holds the flow's progress: the consumed version
    /// of its source.
    #[must_use]
    pub fn app_id(&self, pipeline: &str) -> String {
        format!("headwater/{pipeline}/{}", self.0)
    }

    /// The `app_id` of the `txn` action that carries the flow's watermark, in microseconds.
    #[must_use]
    pub fn watermark_app_id(&self, pipeline: &str) -> String {
        format!("headwater/{pipeline}/{}/watermark", self.0)
    }

    /// The `app_id` of the `txn` action that holds the last sequence number that is committed of a hub's partition.
    #[must_use]
    pub fn partition_app_id(&self, pipeline: &str, hub: &HubIdentity, partition: &str) -> String {
        format!("headwater/{pipeline}/{}/hub/{}", self.0, hub.partition(partition))
    }

    /// The `app_id` of the `txn` action by which a side table tells the version of a table that the flow's batch was
    /// joined with.
    #[must_use]
    pub fn joined_app_id(&self, pipeline: &str, joined: &DatasetName) -> String {
        format!("headwater/{pipeline}/{}/joined/{joined}", self.0)
    }
}

impl fmt::Display for FlowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_in_lower_case_and_maps_to_its_folder() {
        assert_eq!(DatasetName::new("Flights").folder(), "flights");
        assert_eq!(DatasetName::with_schema("Ops", "Flights").folder(), "ops.flights");
    }

    #[test]
    fn a_side_table_knows_its_main_table() {
        let flights = DatasetName::with_schema("ops", "flights");
        assert_eq!(flights.quarantine().to_string(), "ops.flights__quarantine");
        assert_eq!(flights.quarantine().main(), Some(flights.clone()));
        assert_eq!(flights.late().main(), Some(flights.clone()));
        assert_eq!(flights.main(), None);
    }

    #[test]
    fn a_name_survives_its_text_form() {
        for name in [DatasetName::new("a"), DatasetName::with_schema("s", "a")] {
            assert_eq!(DatasetName::from(String::from(name.clone())), name);
        }
    }

    #[test]
    fn progress_and_watermark_have_ids_of_their_own() {
        let flow = FlowName::new("F");
        assert_eq!(flow.app_id("p"), "headwater/p/f");
        assert_ne!(flow.app_id("p"), flow.watermark_app_id("p"));
        let hub = HubIdentity { namespace: "n".into(), hub: "h".into(), created: Some(7) };
        assert_eq!(flow.partition_app_id("p", &hub, "3"), "headwater/p/f/hub/n/h@7/3");
    }
}
