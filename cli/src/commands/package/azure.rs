//! `headwater package azure`: the zip of a function app.

use std::collections::BTreeMap;
use std::path::Path;

use headwater_core::model::Pipeline;
use serde_json::json;

use super::{program, report, warn};
use crate::args::AzurePackageArguments;
use crate::failure::{Exit, Result};
use crate::output::Output;
use crate::package::archive::{self, Entry};
use crate::package::function_app::{PROGRAM, app_entries, own_hub, sources};
use crate::package::program::LibraryVersion;
use crate::package::{Architecture, project_entries};
use crate::project::{self, Loaded};

/// The GNU C library of Debian 11, the oldest image that Functions 4 run on.
const DEBIAN: LibraryVersion = LibraryVersion { major: 2, minor: 31 };
/// What the template sets, so that paths are read as they will be there.
const DEPLOYED: [(&str, &str); 2] = [
    ("HEADWATER_STORAGE", "abfss://lake@account.dfs.core.windows.net/"),
    ("HEADWATER_ROOTS_LANDING", "abfss://landing@account.dfs.core.windows.net/"),
];

pub(super) fn execute(arguments: &AzurePackageArguments, loaded: &Loaded, output: &Output) -> Result<Exit> {
    let (pipeline, _) = project::load_deployed(&loaded.folder, &DEPLOYED)?.into_pipeline()?;
    let mut entries = project_entries(loaded)?;
    entries.extend(app_entries(&pipeline)?);
    let mut library = None;
    if !arguments.without_program {
        let program = program(&arguments.package, Architecture::X86_64, DEBIAN)?;
        library = program.library;
        entries.push(Entry::program(PROGRAM, program.bytes));
    }
    let path = arguments.package.output.join(format!("{}-azure.zip", pipeline.name));
    let archive = archive::write(&path, entries)?;
    report(&archive, library, &path, output)?;
    warn(&pipeline, "container", output);
    output.note(&next(&pipeline, &path))?;
    Ok(Exit::Done)
}

/// The commands that deploy it.
fn next(pipeline: &Pipeline, path: &Path) -> String {
    let (own, made): (Vec<&str>, Vec<&str>) =
        sources(pipeline).into_iter().partition(|source| own_hub(pipeline, source).is_some());
    let namespaces: BTreeMap<_, _> =
        own.iter().filter_map(|source| Some((*source, own_hub(pipeline, source)?.namespace.as_str()))).collect();
    let own = if own.is_empty() { String::new() } else { format!(" ownNamespaces='{}'", json!(namespaces)) };
    format!(
        "\nnext, with a resource group:\n  \
         az deployment group create --resource-group GROUP --template-file infra/azure/main.bicep \\\n    \
         --parameters name=NAME sourceNames='{}'{own}\n  \
         az functionapp deployment source config-zip --resource-group GROUP --name FUNCTION_APP --src {}",
        json!(made),
        path.display(),
    )
}
