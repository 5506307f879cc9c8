//! `headwater lineage`: what a dataset is made from, and what is made from it.

use std::path::Path;

use headwater_core::graph::{self, Lineage};
use headwater_core::model::Pipeline;
use headwater_core::name::DatasetName;
use headwater_core::nearest::did_you_mean;
use serde_json::json;

use crate::args::{Format, LineageArguments};
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::project;
use crate::render::{self, listing::Listing};

pub(crate) fn execute(arguments: &LineageArguments, folder: Option<&Path>, output: &Output) -> Result<Exit> {
    let (pipeline, _) = project::load(folder)?.into_pipeline()?;
    let names = match &arguments.dataset {
        None if output.format == Format::Table => {
            output.print(&graph::draw(&pipeline))?;
            return Ok(Exit::Done);
        }
        None => pipeline.datasets.iter().map(|dataset| dataset.name.clone()).collect(),
        Some(name) => vec![DatasetName::from(name.clone())],
    };
    let lineages = names.iter().map(|name| Ok((name, find(&pipeline, name)?))).collect::<Result<Vec<_>>>()?;
    match output.format {
        Format::Json => {
            output.print(&render::json(&lineages.iter().map(|(name, found)| document(name, found)).collect()))?
        }
        Format::Table | Format::Csv => output.print(&render::rows(&rows(&lineages), output)?)?,
    }
    Ok(Exit::Done)
}

fn find(pipeline: &Pipeline, name: &DatasetName) -> Result<Lineage> {
    graph::lineage(pipeline, name).ok_or_else(|| unknown(pipeline, &name.to_string()))
}

/// The pipeline has no dataset of that name.
pub(crate) fn unknown(pipeline: &Pipeline, name: &str) -> Failure {
    let known: Vec<String> = pipeline.datasets.iter().map(|dataset| dataset.name.to_string()).collect();
    let help = did_you_mean(name, known.iter().map(String::as_str));
    Failure::invalid(format!("the pipeline has no dataset `{name}`"), help)
}

fn document(name: &DatasetName, lineage: &Lineage) -> serde_json::Value {
    json!({
        "dataset": name,
        "outside": lineage.outside,
        "upstream": lineage.upstream,
        "downstream": lineage.downstream,
    })
}

fn rows(lineages: &[(&DatasetName, Lineage)]) -> render::Rows {
    let mut lines: Vec<(String, &str, String)> = Vec::new();
    for (name, lineage) in lineages {
        let mut add = |relation, other: &dyn ToString| lines.push((name.to_string(), relation, other.to_string()));
        lineage.outside.iter().for_each(|source| add("outside", source));
        lineage.upstream.iter().for_each(|dataset| add("upstream", dataset));
        lineage.downstream.iter().for_each(|dataset| add("downstream", dataset));
    }
    Listing::default()
        .text("dataset", lines.iter().map(|line| Some(&line.0)))
        .text("relation", lines.iter().map(|line| Some(line.1)))
        .text("other", lines.iter().map(|line| Some(&line.2)))
        .rows()
}
