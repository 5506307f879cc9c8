//! `headwater validate`: everything that is wrong with the project, then its graph.

use std::collections::BTreeSet;
use std::path::Path;

use headwater_core::diagnostic::Diagnostic;
use headwater_core::graph;
use headwater_core::model::Pipeline;
use headwater_lake::lake::Lake;
use serde_json::json;

use crate::args::{Format, ValidateArguments};
use crate::failure::{Exit, Result};
use crate::output::Output;
use crate::project::{self, Loaded};
use crate::render::findings::{graphical, summary, to_json};
use crate::render::{self, listing::Listing};

pub(crate) async fn execute(arguments: &ValidateArguments, folder: Option<&Path>, output: &Output) -> Result<Exit> {
    let mut loaded = project::load(folder)?;
    if let Some(pipeline) = &loaded.pipeline {
        let lake = Lake::inspect(pipeline.clone(), &loaded.folder)?;
        loaded.findings.extend(lake.check(&BTreeSet::new()).await);
    }
    match output.format {
        Format::Table => print(&loaded, arguments.mermaid, output)?,
        Format::Json => output.print(&render::json(&document(&loaded)))?,
        Format::Csv => output.print(&render::rows(&rows(&loaded), output)?)?,
    }
    Ok(if is_valid(&loaded) { Exit::Done } else { Exit::Invalid })
}

fn is_valid(loaded: &Loaded) -> bool {
    loaded.pipeline.is_some() && !loaded.findings.iter().any(Diagnostic::is_error)
}

fn print(loaded: &Loaded, mermaid: bool, output: &Output) -> Result<()> {
    if !loaded.findings.is_empty() {
        output.complain(&graphical(&loaded.findings, output.errors_colored, output.width.unwrap_or(100)));
    }
    let Some(pipeline) = loaded.pipeline.as_ref().filter(|_| is_valid(loaded)) else { return Ok(()) };
    if mermaid {
        return output.print(&graph::mermaid(pipeline));
    }
    if !output.quiet {
        output.print(&graph::draw(pipeline))?;
        output.note(&format!("\n{}", verdict(loaded, pipeline)))?;
    }
    Ok(())
}

fn verdict(loaded: &Loaded, pipeline: &Pipeline) -> String {
    let found = summary(&loaded.findings);
    let found = if found.is_empty() { "no findings".to_owned() } else { found };
    let (datasets, flows, files) = (pipeline.datasets.len(), pipeline.flows.len(), loaded.files.len());
    format!("{}: {datasets} datasets and {flows} flows in {files} SQL files, {found}", pipeline.name)
}

fn document(loaded: &Loaded) -> serde_json::Value {
    let pipeline = loaded.pipeline.as_ref();
    json!({
        "valid": is_valid(loaded),
        "findings": to_json(&loaded.findings),
        "pipeline": pipeline.map(|pipeline| &pipeline.name),
        "datasets": pipeline.map(datasets),
        "mermaid": pipeline.map(graph::mermaid),
    })
}

fn datasets(pipeline: &Pipeline) -> serde_json::Value {
    let one = |dataset: &headwater_core::model::Dataset| {
        json!({
            "name": dataset.name,
            "kind": dataset.kind,
            "layer": dataset.layer,
            "path": pipeline.table_path(&dataset.name),
            "flows": pipeline.flows_into(&dataset.name).map(|flow| flow.name.as_str()).collect::<Vec<_>>(),
            "expectations": dataset.expectations.iter().map(|rule| &rule.name).collect::<Vec<_>>(),
            "defined_at": dataset.span.to_string(),
        })
    };
    pipeline.datasets.iter().map(one).collect()
}

/// The findings, one a row.
fn rows(loaded: &Loaded) -> render::Rows {
    let findings = &loaded.findings;
    let place = |at: usize| findings[at].span.as_ref().map(ToString::to_string);
    Listing::default()
        .text("severity", findings.iter().map(|finding| Some(finding.severity.word())))
        .text("code", findings.iter().map(|finding| Some(finding.code)))
        .text("place", (0..findings.len()).map(place))
        .text("message", findings.iter().map(|finding| Some(&finding.message)))
        .text("help", findings.iter().map(|finding| finding.help.as_ref()))
        .rows()
}
