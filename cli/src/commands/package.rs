//! `headwater package`: what a cloud deploys of the project.

use std::collections::BTreeSet;
use std::path::Path;

use headwater_core::model::{Pipeline, RelationSource};
use headwater_lake::lake::Lake;

use crate::args::{PackageArguments, PackageFor};
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::package::archive::{self, Archive, Entry};
use crate::package::program::{LibraryVersion, Program};
use crate::package::{Architecture, build, project_entries};
use crate::project::{self, Loaded};
use crate::render::findings::graphical;
use crate::render::{self, listing::Listing};

/// The GNU C library of `provided.al2023`.
const AMAZON_LINUX: LibraryVersion = LibraryVersion { major: 2, minor: 34 };
/// What Lambda unpacks at most.
const MAX_UNZIPPED: u64 = 250 << 20;
/// How many digits of the zip's digest tell its versions apart.
const DIGITS: usize = 12;
/// What the template sets, so that paths are read as they will be there.
const DEPLOYED: [(&str, &str); 2] = [("HEADWATER_STORAGE", "s3://lake"), ("HEADWATER_ROOTS_LANDING", "s3://landing")];

pub(crate) async fn execute(cloud: &PackageFor, folder: Option<&Path>, output: &Output) -> Result<Exit> {
    let PackageFor::Aws(arguments) = cloud;
    let loaded = sound(project::load(folder)?, output).await?;
    let architecture = Architecture::from(arguments.arch);
    let program = program(arguments, architecture)?;
    program.check(architecture, AMAZON_LINUX)?;

    let deployed = project::load_deployed(&loaded.folder, &DEPLOYED)?;
    let (pipeline, _) = deployed.into_pipeline()?;
    let library = program.library;
    let mut entries = project_entries(&loaded)?;
    entries.push(Entry::program("bootstrap", program.bytes));
    let path = arguments.output.join(format!("{}-{architecture}.zip", pipeline.name));
    let archive = archive::write(&path, entries)?;
    report(&archive, library, &path, output)?;
    if archive.unzipped > MAX_UNZIPPED {
        let message = format!("{} is larger than Lambda takes when it is unpacked (250 MiB)", path.display());
        return Err(Failure::invalid(message, "give a program that was built with `--profile deploy`"));
    }
    warn(&pipeline, output);
    output.note(&next(&pipeline, architecture, &path, &archive))?;
    Ok(Exit::Done)
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

/// The program that was given, or one that is built now.
fn program(arguments: &PackageArguments, architecture: Architecture) -> Result<Program> {
    if let Some(binary) = &arguments.binary {
        return Program::read(binary);
    }
    let checkout = arguments.source.clone().or_else(build::find_checkout).ok_or_else(|| {
        let help = "give a program by --binary, or the checkout of Headwater to build it from by --source";
        Failure::invalid("there is no checkout of Headwater here to build the program from", help)
    })?;
    Program::read(&build::build(&checkout, architecture, AMAZON_LINUX)?)
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

/// Says what reads a folder that isn't there once the project is deployed.
fn warn(pipeline: &Pipeline, output: &Output) {
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
             the landing bucket"
        ));
    }
}

/// The commands that deploy it. The key holds the digest, since a changed zip needs a changed key.
fn next(pipeline: &Pipeline, architecture: Architecture, path: &Path, archive: &Archive) -> String {
    let name = &pipeline.name;
    let digits: String = archive.digest.chars().take(DIGITS).collect();
    let key = format!("{name}-{architecture}-{digits}.zip");
    let source = pipeline.sources.keys().next().map(|source| format!(" SourceName={source}")).unwrap_or_default();
    format!(
        "\nnext, with a bucket for the zip:\n  aws s3 cp {} s3://BUCKET/{key}\n  \
         aws cloudformation deploy --stack-name {} --template-file infra/aws/template.yaml \\\n    \
         --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \\\n    \
         --parameter-overrides CodeBucket=BUCKET CodeKey={key} Architecture={architecture}{source}",
        path.display(),
        name.to_lowercase().replace('_', "-"),
    )
}
