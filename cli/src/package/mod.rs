//! What a cloud deploys: the program and the project, in one zip.
//!
//! The zip holds no data and no tables: only the project file, the SQL that it selects, and the program.

pub(crate) mod archive;
pub(crate) mod build;
pub(crate) mod function_app;
pub(crate) mod program;

use std::fmt;
use std::fs;
use std::path::Path;

use headwater_core::project::FILE_NAMES;

use crate::failure::{Failure, Result};
use crate::package::archive::Entry;
use crate::project::Loaded;

/// The folder of the project in the zip, where a function looks for it.
const FOLDER: &str = "pipeline";

/// A processor that functions run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// Intel and AMD, 64 bits.
    X86_64,
    /// Arm, 64 bits.
    Arm64,
}

impl Architecture {
    /// The name that clouds know it by.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    /// The target that Rust knows it by.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The files of a sound project, as they lie in the zip.
pub(crate) fn project_entries(loaded: &Loaded) -> Result<Vec<Entry>> {
    let file = FILE_NAMES.into_iter().find(|name| loaded.folder.join(name).is_file()).unwrap_or(FILE_NAMES[0]);
    let mut entries = vec![project_file(&loaded.folder.join(file), file)?];
    for file in &loaded.files {
        entries.push(Entry::text(format!("{FOLDER}/{}", file.path), file.text.clone().into_bytes()));
    }
    Ok(entries)
}

fn project_file(path: &Path, name: &str) -> Result<Entry> {
    let bytes = fs::read(path).map_err(|error| Failure::file("read", path, &error))?;
    Ok(Entry::text(format!("{FOLDER}/{name}"), bytes))
}
