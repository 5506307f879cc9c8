//! A zip that depends on nothing but what is in it: the same files give the same bytes, whenever and wherever.

use std::fs;
use std::io::{self, Cursor, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use crate::failure::{Exit, Failure, Result};

/// The best compression: it is made once and loaded at each cold start.
const LEVEL: i64 = 9;

/// A file of the zip.
#[derive(Debug)]
pub(crate) struct Entry {
    name: String,
    mode: u32,
    bytes: Vec<u8>,
}

impl Entry {
    /// A file that is read.
    pub(crate) const fn text(name: String, bytes: Vec<u8>) -> Self {
        Self { name, mode: 0o644, bytes }
    }

    /// A file that is run.
    pub(crate) fn program(name: &str, bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), mode: 0o755, bytes }
    }
}

/// A zip that was written.
#[derive(Debug)]
pub(crate) struct Archive {
    /// Its size.
    pub(crate) bytes: u64,
    /// The size of its files.
    pub(crate) unzipped: u64,
    /// SHA-256 of the zip, in hexadecimal digits.
    pub(crate) digest: String,
}

/// Writes the entries in the order of their names. The file is there whole or not at all.
pub(crate) fn write(path: &Path, mut entries: Vec<Entry>) -> Result<Archive> {
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let unzipped = entries.iter().map(|entry| entry.bytes.len() as u64).sum();
    let bytes = pack(&entries).map_err(|source| Failure::Message {
        exit: Exit::Failed,
        message: format!("can't make {}: {source}", path.display()),
        help: None,
    })?;
    replace(path, &bytes).map_err(|source| Failure::file("write", path, &source))?;
    let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Archive { bytes: bytes.len() as u64, unzipped, digest })
}

fn pack(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for entry in entries {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(LEVEL))
            .last_modified_time(DateTime::default())
            .system(System::Unix)
            .unix_permissions(entry.mode);
        zip.start_file(entry.name.as_str(), options)?;
        zip.write_all(&entry.bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(&part, bytes)?;
    fs::rename(&part, path)
}
