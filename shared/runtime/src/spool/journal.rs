//! The journal: one line an operation, `<CRC-32 in hex> <JSON>`, under the spool's lock.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::segment::{SegmentName, checksum};
use super::state::{Entry, Place, State};
use super::sync_folder;
use crate::error::{AtPath, Result};

const NAME: &str = "journal";
/// A journal below this size is not worth rewriting.
const SMALL: u64 = 1 << 20;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    spool: u32,
    generation: Uuid,
}

/// Whether all that was ever written to the journal was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Whole,
    /// A part was damaged, or all of it is missing.
    Damaged,
}

/// Applies what was added since the last reading, and what the folders hold.
pub(super) fn catch_up(folder: &Path, state: &mut State, listed: &[(Place, SegmentName)]) -> Result<Reading> {
    let path = folder.join(NAME);
    let mut file = match File::options().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return restart(folder, state, listed),
        Err(error) => return Err(error).at("open", &path),
    };
    let Some((generation, start)) = read_header(&mut file).at("read", &path)? else {
        let aside = folder.join(format!("{NAME}.damaged-{}", Uuid::new_v4().simple()));
        fs::rename(&path, &aside).at("move", &path)?;
        tracing::warn!(kept = %aside.display(), "the journal of a spool is damaged: a new one was begun");
        return restart(folder, state, listed);
    };
    let size = file.metadata().at("read", &path)?.len();
    if state.generation != Some(generation) || size < state.position {
        state.reset(generation, start);
    }
    state.see(listed);
    let mut added = Vec::new();
    file.seek(SeekFrom::Start(state.position)).at("read", &path)?;
    file.read_to_end(&mut added).at("read", &path)?;
    let sound = apply(state, &added);
    if sound == added.len() {
        return Ok(Reading::Whole);
    }
    file.set_len(state.position).at("mend", &path)?;
    file.sync_all().at("sync", &path)?;
    Ok(Reading::Damaged)
}

/// Adds an operation; it is on disk when this returns.
pub(super) fn append(folder: &Path, state: &mut State, entry: &Entry) -> Result<()> {
    let path = folder.join(NAME);
    let line = line(entry);
    let mut file = File::options().append(true).open(&path).at("open", &path)?;
    file.write_all(&line).at("write", &path)?;
    file.sync_data().at("sync", &path)?;
    state.position += line.len() as u64;
    Ok(())
}

/// Rewrites a journal that has grown much since it was written as what is still true.
pub(super) fn rewrite_if_grown(folder: &Path, state: &mut State) -> Result<()> {
    if state.position < SMALL.max(4 * state.rewritten) {
        return Ok(());
    }
    let (generation, size) = create(folder, state.entries())?;
    state.generation = Some(generation);
    state.position = size;
    state.rewritten = size;
    Ok(())
}

fn restart(folder: &Path, state: &mut State, listed: &[(Place, SegmentName)]) -> Result<Reading> {
    let (generation, size) = create(folder, std::iter::empty())?;
    state.reset(generation, size);
    state.see(listed);
    Ok(if listed.is_empty() { Reading::Whole } else { Reading::Damaged })
}

/// Replaces the journal by these entries; its generation and size.
fn create(folder: &Path, entries: impl Iterator<Item = Entry>) -> Result<(Uuid, u64)> {
    let generation = Uuid::new_v4();
    let mut bytes = line(&Header { spool: 1, generation });
    for entry in entries {
        bytes.extend_from_slice(&line(&entry));
    }
    let aside = folder.join("tmp").join(format!("{NAME}-{}", generation.simple()));
    let mut file = File::create_new(&aside).at("create", &aside)?;
    file.write_all(&bytes).at("write", &aside)?;
    file.sync_all().at("sync", &aside)?;
    let path = folder.join(NAME);
    fs::rename(&aside, &path).at("write", &path)?;
    sync_folder(folder)?;
    Ok((generation, bytes.len() as u64))
}

/// Applies whole lines; how many bytes that were.
fn apply(state: &mut State, added: &[u8]) -> usize {
    let mut sound = 0;
    for line in added.split_inclusive(|byte| *byte == b'\n') {
        let Some(entry) = parse::<Entry>(line) else { break };
        state.apply(entry);
        sound += line.len();
    }
    state.position += sound as u64;
    sound
}

fn read_header(file: &mut File) -> std::io::Result<Option<(Uuid, u64)>> {
    let mut start = Vec::new();
    file.take(256).read_to_end(&mut start)?;
    let Some(line) = start.split_inclusive(|byte| *byte == b'\n').next() else { return Ok(None) };
    let header = parse::<Header>(line).filter(|header| header.spool == 1);
    Ok(header.map(|header| (header.generation, line.len() as u64)))
}

fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut line = format!("{:08x} ", checksum(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    line
}

fn parse<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Option<T> {
    let line = line.strip_suffix(b"\n")?;
    let (crc, json) = line.split_at_checked(9)?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?.trim_end(), 16).ok()?;
    (crc == checksum(json)).then(|| serde_json::from_slice(json).ok())?
}
