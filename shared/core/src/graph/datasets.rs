//! Checks of each dataset by itself: its name, columns, rules and properties.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, visit_expressions};

use super::draft::Draft;
use super::functions::is_aggregate;
use super::properties::{self, DEDUP_KEYS, Z_ORDER};
use crate::diagnostic::Diagnostic;
use crate::model::{Dataset, DatasetKind, Dedup, Expectation, Violation};
use crate::nearest::did_you_mean;
use crate::zorder::MAX_COLUMNS;

/// Columns that Headwater itself writes.
pub(super) const RESERVED_COLUMNS: [&str; 2] = ["_metadata", "_headwater"];
const MAX_NAME: usize = 200;

/// All findings of all datasets.
pub(super) fn check(draft: &mut Draft) {
    let mut findings = Vec::new();
    for (at, dataset) in draft.datasets.iter().enumerate() {
        if let Some(first) = draft.datasets[..at].iter().find(|first| first.name == dataset.name) {
            findings.push(
                Diagnostic::error(
                    "PIPELINE_DUPLICATE_IDENTIFIERS.OUTPUT",
                    format!("`{}` is defined twice", dataset.name),
                )
                .at(dataset.span.clone())
                .help(format!("the first definition is at {}: rename one of them", first.span)),
            );
        }
        let mut check = Check { dataset, findings: &mut findings };
        check.name();
        check.columns();
        check.layout();
        check.expectations();
        check.dedup();
        check.has_flow(draft);
    }
    draft.findings.append(&mut findings);
}

/// The folder of a table's log.
const LOG_FOLDER: &str = "_delta_log";

struct Check<'a> {
    dataset: &'a Dataset,
    findings: &'a mut Vec<Diagnostic>,
}

impl Check<'_> {
    fn error(&mut self, code: &'static str, message: String, help: impl Into<String>) {
        self.findings.push(Diagnostic::error(code, message).at(self.dataset.span.clone()).help(help));
    }

    /// A name is a folder of the lake, and side tables are its siblings.
    fn name(&mut self) {
        let name = &self.dataset.name;
        let parts = [Some(name.name()), name.schema()];
        let is_plain = |part: &str| {
            !part.is_empty()
                && part.len() <= MAX_NAME
                && part.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-'))
        };
        if !parts.into_iter().flatten().all(is_plain) {
            self.error(
                "INVALID_DATASET_NAME",
                format!("`{name}` can't be the name of a folder"),
                "use letters, digits, `_` and `-`",
            );
        } else if name.folder() == LOG_FOLDER {
            self.error("RESERVED_NAME", format!("`{name}` is where tables have their logs"), "choose another name");
        } else if name.main().is_some() {
            self.error(
                "RESERVED_NAME",
                format!("`{name}` has the name of a side table"),
                "names that end in `__quarantine`, `__late` or `__changes` are Headwater's own: choose another",
            );
        }
    }

    fn columns(&mut self) {
        let mut seen = BTreeSet::new();
        for column in &self.dataset.columns {
            let folded = column.name.to_lowercase();
            if RESERVED_COLUMNS.contains(&folded.as_str()) {
                self.error(
                    "RESERVED_NAME",
                    format!("column `{}` is written by Headwater itself", column.name),
                    "leave it out of the columns, or choose another name",
                );
            }
            if !seen.insert(folded) {
                self.error(
                    "COLUMN_ALREADY_EXISTS",
                    format!("column `{}` is declared twice", column.name),
                    "keep one of them",
                );
            }
        }
    }

    fn layout(&mut self) {
        let dataset = self.dataset;
        self.column_list("PARTITIONED BY", &dataset.partitioned_by);
        self.clustering();
        if !dataset.columns.is_empty() && dataset.partitioned_by.len() >= dataset.columns.len() {
            self.error(
                "ALL_PARTITION_COLUMNS_NOT_ALLOWED",
                format!("every column of `{}` is a partition column", dataset.name),
                "leave at least one column out of PARTITIONED BY",
            );
        }
    }

    fn clustering(&mut self) {
        let dataset = self.dataset;
        let (columns, partitions) = (&dataset.clustered_by, &dataset.partitioned_by);
        let z_order = dataset.properties.get(Z_ORDER).map(|columns| properties::columns(columns));
        let clause = if z_order.is_some() { Z_ORDER } else { "CLUSTER BY" };
        self.column_list(clause, columns);
        if columns.len() > MAX_COLUMNS {
            self.error(
                "CLUSTER_BY_TOO_MANY_COLUMNS",
                format!("{clause} names more than {MAX_COLUMNS} columns"),
                "keep those that queries filter by most",
            );
        }
        match z_order {
            None if partitions.is_empty() || columns.is_empty() => {}
            None => self.error(
                "SPECIFY_CLUSTER_BY_WITH_PARTITIONED_BY_IS_NOT_ALLOWED",
                format!("`{}` has both PARTITIONED BY and CLUSTER BY", dataset.name),
                "keep one of them",
            ),
            Some(z_order) if z_order != *columns => self.error(
                "CLUSTER_BY_TWICE",
                format!("`{}` has both CLUSTER BY and {Z_ORDER}", dataset.name),
                "keep CLUSTER BY",
            ),
            Some(z_order) => {
                let is_partition = |name: &&String| partitions.iter().any(|other| other.eq_ignore_ascii_case(name));
                if let Some(name) = z_order.iter().find(is_partition) {
                    self.error(
                        "CLUSTER_BY_PARTITION_COLUMN",
                        format!("{clause} names `{name}`, which is a partition column"),
                        "leave it out: all rows of a file have the same value of it",
                    );
                }
            }
        }
    }

    /// Columns that a clause names: each once, and declared if any are.
    fn column_list(&mut self, clause: &str, names: &[String]) {
        let mut seen = BTreeSet::new();
        for name in names.iter().filter(|name| !name.is_empty()) {
            if !seen.insert(name.to_lowercase()) {
                self.error("COLUMN_ALREADY_EXISTS", format!("{clause} names `{name}` twice"), "keep one of them");
            }
            let declared = &self.dataset.columns;
            if !declared.is_empty() && !declared.iter().any(|column| column.name.eq_ignore_ascii_case(name)) {
                let help = did_you_mean(name, declared.iter().map(|column| column.name.as_str()));
                self.error("UNRESOLVED_COLUMN", format!("{clause} names `{name}`, which is no declared column"), help);
            }
        }
    }

    fn expectations(&mut self) {
        let dataset = self.dataset;
        if dataset.kind == DatasetKind::View && !dataset.expectations.is_empty() {
            self.error(
                "UNSUPPORTED_EXPECTATION",
                format!("`{}` is a view, which can't have expectations", dataset.name),
                "put them on the table that reads it, or make it a TEMPORARY VIEW",
            );
        }
        let mut seen = BTreeSet::new();
        for expectation in &dataset.expectations {
            if !seen.insert(expectation.name.to_lowercase()) {
                self.findings.push(
                    Diagnostic::error(
                        "DUPLICATE_EXPECTATION",
                        format!("expectation `{}` is declared twice", expectation.name),
                    )
                    .at(expectation.span.clone())
                    .help("give each its own name: counts and quarantine tell them apart by it"),
                );
            }
            self.findings.extend(check_predicate(expectation));
            if dataset.kind == DatasetKind::TemporaryView {
                self.findings.push(on_view(expectation));
            }
        }
    }

    fn dedup(&mut self) {
        let dataset = self.dataset;
        let Some(Dedup::Keys(keys)) = &dataset.dedup else { return };
        if dataset.kind != DatasetKind::StreamingTable {
            self.error(
                "INVALID_TABLE_PROPERTY",
                format!("`{DEDUP_KEYS}` is for streaming tables, and `{}` is none", dataset.name),
                "in a materialized view, use SELECT DISTINCT or GROUP BY",
            );
        }
        if keys.iter().any(String::is_empty) {
            self.error("INVALID_TABLE_PROPERTY", format!("`{DEDUP_KEYS}` names no column"), "write `'a, b'`");
        }
        self.column_list(DEDUP_KEYS, keys);
    }

    fn has_flow(&mut self, draft: &Draft) {
        let dataset = self.dataset;
        let is_filled =
            draft.flows_into(&dataset.name).next().is_some() || draft.maybe_filled.contains(dataset.name.name());
        if dataset.kind.has_table() && !is_filled {
            self.error(
                "PIPELINE_DATASET_WITHOUT_FLOW",
                format!("nothing flows into `{}`", dataset.name),
                format!("add `AS SELECT …`, or `CREATE FLOW name AS INSERT INTO {} BY NAME SELECT …`", dataset.name),
            );
        }
    }
}

/// Rules are about one row: no other rows, no other tables.
fn check_predicate(expectation: &Expectation) -> Option<Diagnostic> {
    let mut problem = None;
    let _ = visit_expressions(&expectation.predicate, |expression: &Expr| {
        problem = match expression {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => Some("holds a subquery"),
            Expr::Function(function) if function.over.is_some() => Some("calls a window function"),
            Expr::Function(function) if is_aggregate(&function.name.to_string()) => Some("calls an aggregate"),
            _ => None,
        };
        if problem.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let message = format!("expectation `{}` {}", expectation.name, problem?);
    Some(
        Diagnostic::error("INVALID_EXPECTATION", message)
            .at(expectation.span.clone())
            .help("an expectation is a condition on one row: join or aggregate in the query, and test the result"),
    )
}

/// A view has no table, so nothing can be counted or quarantined for it.
fn on_view(expectation: &Expectation) -> Diagnostic {
    let name = &expectation.name;
    let finding = match expectation.action {
        Violation::Warn => Diagnostic::warning(
            "EXPECTATION_ON_VIEW",
            format!("expectation `{name}` is on a view, where it isn't counted"),
        ),
        Violation::Drop => Diagnostic::warning(
            "EXPECTATION_ON_VIEW",
            format!("expectation `{name}` is on a view, which filters rows without counts or quarantine"),
        ),
        Violation::Fail => Diagnostic::error(
            "UNSUPPORTED_EXPECTATION",
            format!("expectation `{name}` can't fail the update, because it is on a view"),
        ),
    };
    finding.at(expectation.span.clone()).help("move it to the table that reads the view")
}
