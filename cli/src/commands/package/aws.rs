//! `headwater package aws`: the zip of functions on AWS Lambda.

use std::path::Path;

use headwater_core::model::Pipeline;

use super::{program, report, warn};
use crate::args::AwsPackageArguments;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::package::archive::{self, Archive, Entry};
use crate::package::program::LibraryVersion;
use crate::package::{Architecture, project_entries};
use crate::project::{self, Loaded};

/// The GNU C library of `provided.al2023`.
const AMAZON_LINUX: LibraryVersion = LibraryVersion { major: 2, minor: 34 };
/// What Lambda unpacks at most.
const MAX_UNZIPPED: u64 = 250 << 20;
/// How many digits of the zip's digest tell its versions apart.
const DIGITS: usize = 12;
/// What the template sets, so that paths are read as they will be there.
const DEPLOYED: [(&str, &str); 2] = [("HEADWATER_STORAGE", "s3://lake"), ("HEADWATER_ROOTS_LANDING", "s3://landing")];

pub(super) fn execute(arguments: &AwsPackageArguments, loaded: &Loaded, output: &Output) -> Result<Exit> {
    let architecture = Architecture::from(arguments.arch);
    let program = program(&arguments.package, architecture, AMAZON_LINUX)?;
    let (pipeline, _) = project::load_deployed(&loaded.folder, &DEPLOYED)?.into_pipeline()?;
    let library = program.library;
    let mut entries = project_entries(loaded)?;
    entries.push(Entry::program("bootstrap", program.bytes));
    let path = arguments.package.output.join(format!("{}-{architecture}.zip", pipeline.name));
    let archive = archive::write(&path, entries)?;
    report(&archive, library, &path, output)?;
    if archive.unzipped > MAX_UNZIPPED {
        let message = format!("{} is larger than Lambda takes when it is unpacked (250 MiB)", path.display());
        return Err(Failure::invalid(message, "give a program that was built with `--profile deploy`"));
    }
    warn(&pipeline, "bucket", output);
    output.note(&next(&pipeline, architecture, &path, &archive))?;
    Ok(Exit::Done)
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
