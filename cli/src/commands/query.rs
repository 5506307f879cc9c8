//! `headwater query`: one SELECT over the datasets.

use std::io::Read;
use std::path::Path;

use headwater_core::diagnostic::SourceFile;
use headwater_core::name::DatasetName;
use headwater_lake::lake::Lake;

use crate::args::QueryArguments;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::project;
use crate::render::{self, Rows};

/// The name that the query is planned under.
const NAME: &str = "headwater_query";

/// The most that is read of a query.
const LONGEST: u64 = 1 << 20;

pub(crate) async fn execute(arguments: &QueryArguments, project: Option<&Path>, output: &Output) -> Result<Exit> {
    let sql = text(&arguments.sql)?;
    let file =
        SourceFile::new("query", format!("CREATE MATERIALIZED VIEW {NAME} AS {}", sql.trim().trim_end_matches(';')));
    let (pipeline, folder) = project::load_with(project, Some(file))?.into_pipeline()?;
    let lake = Lake::open(pipeline, &folder)?;
    let limit = (arguments.limit > 0).then_some(arguments.limit);
    let (schema, batches) = lake.query(&DatasetName::new(NAME), limit.map(|limit| limit + 1), arguments.at).await?;
    let mut rows = Rows { schema, batches };
    let more = limit.filter(|limit| rows.len() > *limit);
    if let Some(limit) = more {
        rows = first(rows, limit);
    }
    output.print(&render::rows(&rows, output)?)?;
    if let Some(limit) = more {
        output.note(&format!("the first {limit} rows; --limit 0 shows all"))?;
    }
    Ok(Exit::Done)
}

/// The first rows only.
pub(crate) fn first(rows: Rows, limit: usize) -> Rows {
    let mut left = limit;
    let batches = rows.batches.into_iter().map(|batch| {
        let taken = batch.slice(0, batch.num_rows().min(left));
        left -= taken.num_rows();
        taken
    });
    Rows { schema: rows.schema, batches: batches.collect() }
}

fn text(sql: &str) -> Result<String> {
    if sql != "-" {
        return Ok(sql.to_owned());
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(LONGEST).read_to_string(&mut text);
    read.map_err(|source| Failure::file("read", Path::new("standard input"), &source))?;
    Ok(text)
}
