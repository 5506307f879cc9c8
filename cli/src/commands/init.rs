//! `headwater init`: a working project in a new folder.

use std::fs;
use std::path::Path;

use crate::args::InitArguments;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;

/// The project's files; `{{name}}` stands for its name.
const FILES: [(&str, &str); 7] = [
    ("pipeline.yml", include_str!("../../template/pipeline.yml")),
    ("transformations/bronze.sql", include_str!("../../template/bronze.sql")),
    ("transformations/silver.sql", include_str!("../../template/silver.sql")),
    ("transformations/gold.sql", include_str!("../../template/gold.sql")),
    ("data/orders/2026-01-01.ndjson", include_str!("../../template/orders.ndjson")),
    ("data/customers/customers.csv", include_str!("../../template/customers.csv")),
    ("README.md", include_str!("../../template/README.md")),
];

pub(crate) fn execute(arguments: &InitArguments, output: &Output) -> Result<Exit> {
    let folder = arguments.name.as_path();
    let name = pipeline_name(folder)?;
    refuse_used(folder)?;
    for (path, template) in FILES {
        write(&folder.join(path), &template.replace("{{name}}", &name))?;
    }
    write(&folder.join(".gitignore"), "/lake/\n/events/\n")?;
    let place = folder.display();
    output.note(&format!("made {place} with {} files\n\nnext:\n  cd {place} && headwater run", FILES.len() + 1))?;
    Ok(Exit::Done)
}

/// The folder's name, if it can be a pipeline's: it becomes part of each flow's identity.
fn pipeline_name(folder: &Path) -> Result<String> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_plain = name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'));
    if is_plain {
        return Ok(name.to_owned());
    }
    let message = format!("`{}` can't name a project", folder.display());
    Err(Failure::invalid(message, "start with a letter; use letters, digits, `_` and `-`"))
}

/// Nothing of the user's is overwritten.
fn refuse_used(folder: &Path) -> Result<()> {
    let used = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(Failure::file("make the project in", folder, &error)),
    };
    if used {
        let message = format!("{} isn't empty", folder.display());
        return Err(Failure::invalid(message, "choose a new name, or empty the folder"));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|source| Failure::file("make the folder", folder, &source))?;
    fs::write(path, text).map_err(|source| Failure::file("write", path, &source))
}
