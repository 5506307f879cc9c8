//! Compressed files, known by the end of their name.

use std::io::{BufRead, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use object_store::path::Path;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
}

impl Compression {
    /// By the file's name, in any case.
    pub(super) fn of(location: &Path) -> Self {
        match location.extension().map(str::to_ascii_lowercase).as_deref() {
            Some("gz" | "gzip") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstd,
            Some("bz2" | "bzip2") => Self::Bzip2,
            Some(_) | None => Self::None,
        }
    }

    /// The text of the input: of all of its members, where there are several.
    ///
    /// # Errors
    /// When the decompressor can't be set up.
    pub(super) fn open<'a>(self, input: impl BufRead + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(input),
            Self::Gzip => Box::new(MultiGzDecoder::new(input)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(input)?),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        })
    }
}
