//! Whether a cloud can start a program: its processor, and the C library that it needs.

use std::fmt;
use std::fs;
use std::path::Path;

use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64, Machine};
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, read};

use super::Architecture;
use crate::failure::{Failure, Result};

/// A program for Linux.
#[derive(Debug)]
pub(crate) struct Program {
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// The newest version of the GNU C library that it needs; `None` when it needs none.
    pub(crate) library: Option<LibraryVersion>,
    machine: Machine,
}

/// A version of the GNU C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LibraryVersion {
    /// Of `2.34`, the 2.
    pub(crate) major: u32,
    /// Of `2.34`, the 34.
    pub(crate) minor: u32,
}

impl fmt::Display for LibraryVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Program {
    /// Reads a program.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| Failure::file("read the program", path, &error))?;
        let (machine, library) = inspect(&bytes).map_err(|error| {
            let message = format!("{} is no program for Linux: {error}", path.display());
            Failure::invalid(message, "give a program that was built for Linux, 64 bits")
        })?;
        Ok(Self { bytes, library, machine })
    }

    /// Whether it can run there.
    ///
    /// # Errors
    /// `Invalid` for another processor, or for a C library newer than the one that is there.
    pub(crate) fn check(&self, architecture: Architecture, newest: LibraryVersion) -> Result<()> {
        let machine = match architecture {
            Architecture::X86_64 => EM_X86_64,
            Architecture::Arm64 => EM_AARCH64,
        };
        if self.machine != machine {
            let message = format!("the program isn't built for {architecture}");
            return Err(Failure::invalid(message, "choose the other --arch, or build it for this one"));
        }
        match self.library {
            Some(library) if library > newest => Err(Failure::invalid(
                format!("the program needs glibc {library}; there it finds {newest}"),
                format!(
                    "build it for the older one: cargo zigbuild --profile deploy --target {}.{newest} -p headwater",
                    architecture.target()
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// The processor, and the newest version in the sections that say which versions of symbols are needed
/// (`SHT_GNU_verneed`, Linux Standard Base, "Symbol Versioning").
fn inspect(bytes: &[u8]) -> read::Result<(Machine, Option<LibraryVersion>)> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let mut newest = None;
    for section in sections.iter() {
        let Some((libraries, names)) = section.gnu_verneed(endian, bytes)? else { continue };
        let names = sections.strings(endian, bytes, names)?;
        for library in libraries {
            let (_, versions) = library?;
            for version in versions {
                newest = newest.max(library_version(version?.name(endian, names)?));
            }
        }
    }
    Ok((header.e_machine(endian), newest))
}

/// `GLIBC_2.34` is 2.34; what belongs to another library is none.
fn library_version(name: &[u8]) -> Option<LibraryVersion> {
    let version = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
    if version == "ABI_DT_RELR" {
        return Some(LibraryVersion { major: 2, minor: 36 });
    }
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split('.').next().unwrap_or(rest);
    Some(LibraryVersion { major: major.parse().ok()?, minor: minor.parse().ok()? })
}
