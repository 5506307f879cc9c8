//! `headwater package`: what a cloud deploys of the project.

mod aws;
mod azure;

use std::collections::BTreeSet;
use std::path::Path;

use headwater_core::model::{Pipeline, RelationSource};
use headwater_lake::lake::Lake;

use crate::args::{PackageArguments, PackageFor};
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::package::archive::Archive;
use crate::package::program::{LibraryVersion, Program};
use crate::package::{Architecture, build};
use crate::project::{self, Loaded};
use crate::render::findings::graphical;
use crate::render::{self, listing::Listing};

pub(crate) async fn execute(cloud: &PackageFor, folder: Option<&Path>, output: &Output) -> Result<Exit> {
    let loaded = sound(project::load(folder)?, output).await?;
    match cloud {
        PackageFor::Aws(arguments) => aws::execute(arguments, &loaded, output),
        PackageFor::Azure(arguments) => azure::execute(arguments, &loaded, output),
    }
}

/// The project, if `validate` finds nothing wrong with it.
async fn sound(mut loaded: Loaded, output: &Output) -> Result<Loaded> {
    let Some(pipeline) = &loaded.pipeline else { return Err(Failure::Findings(loaded.findings)) };
    let lake = Lake::inspect(pipeline.clone(), &loaded.folder)?;
    loaded.findings.extend(lake.check(&BTreeSet::new()).await);
    if loaded.findings.iter().any(|finding| finding.is_error()) {
        return Err(Failure::Findings(loaded.findings));
    }
    if !loaded.findings.is_empty() {
        output.complain(&graphical(&loaded.findings, output.errors_colored, output.width.unwrap_or(100)));
    }
    Ok(loaded)
}

/// The program that was given, or one that is built now, if the cloud can start it.
fn program(arguments: &PackageArguments, architecture: Architecture, newest: LibraryVersion) -> Result<Program> {
    let file = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => {
            let checkout = arguments.source.clone().or_else(build::find_checkout).ok_or_else(|| {
                let help = "give a program by --binary, or the checkout of Headwater to build it from by --source";
                Failure::invalid("there is no checkout of Headwater here to build the program from", help)
            })?;
            build::build(&checkout, architecture, newest)?
        }
    };
    let program = Program::read(&file)?;
    program.check(architecture, newest)?;
    Ok(program)
}

fn report(archive: &Archive, library: Option<LibraryVersion>, path: &Path, output: &Output) -> Result<()> {
    let rows = Listing::default()
        .text("file", [Some(path.display().to_string())])
        .bytes("size", [Some(archive.bytes)])
        .bytes("unzipped", [Some(archive.unzipped)])
        .text("glibc", [library.map(|library| library.to_string())])
        .text("sha256", [Some(&archive.digest)])
        .rows();
    output.print(&render::rows(&rows, output)?)
}

/// Says what reads a folder that isn't there once the project is deployed. `landing` is what the template makes `/landing`.
fn warn(pipeline: &Pipeline, landing: &str, output: &Output) {
    let relations = pipeline.flows.iter().flat_map(|flow| &flow.query.relations);
    let paths: BTreeSet<_> = relations
        .filter_map(|relation| match &relation.source {
            RelationSource::Files { path, .. } if !path.contains("://") => Some(path),
            RelationSource::Files { .. }
            | RelationSource::Events { .. }
            | RelationSource::Table(_)
            | RelationSource::TableStream { .. } => None,
        })
        .collect();
    for path in paths {
        output.complain(&format!(
            "warning: `{path}` is a local folder, which no function sees\n  \
             help: read it by a root, such as `roots: {{/landing: data}}` in the project file, which the template makes \
             the landing {landing}"
        ));
    }
}
