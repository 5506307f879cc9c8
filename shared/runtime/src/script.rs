//! For tests of the clouds' hosts: a small pipeline, and a handler that answers by a script.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::vec::IntoIter;

use headwater_core::diagnostic::SourceFile;
use headwater_core::graph::build;
use headwater_core::model::Pipeline;
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::project::parse;
use headwater_core::report::{FlowReport, Outcome, Report};
use headwater_core::trigger::Trigger;

use crate::function::FunctionKind;

/// A bronze table of files, and a silver one of it.
pub(crate) fn pipeline() -> Pipeline {
    let file = SourceFile::new("pipeline.yml", "name: p\nstorage: lake\n");
    let project = parse(&file, &BTreeMap::new()).project.unwrap();
    let sql = "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('a', format => 'csv', schema => 'n INT');
               CREATE STREAMING TABLE clean AS SELECT * FROM STREAM(raw);";
    let built = build(&project, &[SourceFile::new("p.sql", sql)]);
    built.pipeline.unwrap_or_else(|| panic!("{:?}", built.diagnostics))
}

/// The report of one flow.
pub(crate) fn flow(name: &str, outcome: Outcome) -> Report {
    let mut flow = FlowReport::new(FlowName::new(name), DatasetName::new(name), "commits");
    flow.outcome = outcome;
    Report { flows: vec![flow], ..Report::default() }
}

pub(crate) fn retryable() -> Outcome {
    Outcome::Retryable { reason: "storage is out of reach".to_owned() }
}

/// Answers of one function: one report after another, and then empty ones.
#[derive(Debug)]
pub(crate) struct Script {
    kind: FunctionKind,
    reports: RefCell<IntoIter<Report>>,
    triggers: RefCell<Vec<Trigger>>,
}

impl Script {
    pub(crate) fn new(kind: FunctionKind, reports: Vec<Report>) -> Self {
        Self { kind, reports: RefCell::new(reports.into_iter()), triggers: RefCell::default() }
    }

    /// What a handler does.
    pub(crate) fn answer(&self, function: FunctionKind, trigger: Trigger) -> Ready<Report> {
        assert_eq!(function, self.kind);
        self.triggers.borrow_mut().push(trigger);
        ready(self.reports.borrow_mut().next().unwrap_or_default())
    }

    /// What woke it.
    pub(crate) fn into_triggers(self) -> Vec<Trigger> {
        self.triggers.into_inner()
    }
}
