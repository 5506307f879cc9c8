//! A pipeline as written: names are resolved, nothing is checked against anything else.

use std::collections::BTreeSet;

use crate::diagnostic::Diagnostic;
use crate::model::{Dataset, Flow};
use crate::name::DatasetName;

/// All definitions of a project, in the order of files and statements.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Datasets without layers, their views not expanded.
    pub(super) datasets: Vec<Dataset>,
    /// Flows, their views not expanded.
    pub(super) flows: Vec<Flow>,
    /// Names after `TABLE` and `VIEW` in files with errors: a statement that couldn't be read may have
    /// defined them. In lower case, without schema.
    pub(super) maybe_defined: BTreeSet<String>,
    /// Names after `INTO` in files with errors, likewise.
    pub(super) maybe_filled: BTreeSet<String>,
    /// What was found so far.
    pub(super) findings: Vec<Diagnostic>,
}

impl Draft {
    /// The dataset of that name; the first of several.
    pub(super) fn dataset(&self, name: &DatasetName) -> Option<&Dataset> {
        self.datasets.iter().find(|dataset| &dataset.name == name)
    }

    /// What a name that is read stands for: a dataset, or the dataset that it is a side table of.
    pub(super) fn source(&self, name: &DatasetName) -> Option<&Dataset> {
        let side = || self.dataset(&name.main()?).filter(|main| main.kind.has_table() && !name.is_changes());
        self.dataset(name).or_else(side)
    }

    /// All flows into a dataset.
    pub(super) fn flows_into<'a>(&'a self, name: &'a DatasetName) -> impl Iterator<Item = &'a Flow> {
        self.flows.iter().filter(move |flow| &flow.target == name)
    }

    /// All names, for suggestions.
    pub(super) fn names(&self) -> Vec<String> {
        self.datasets.iter().map(|dataset| dataset.name.to_string()).collect()
    }
}
