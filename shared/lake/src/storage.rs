//! The lake's root: one URL, one object store.
//!
//! `object_store` is the only I/O seam: local disk, memory, or a bucket (`clouds`). Paths of tables are
//! relative to the root.

use std::collections::HashMap;
use std::path::Path as FilePath;
use std::sync::Arc;

use deltalake::logstore::{LogStore, StorageConfig, default_logstore};
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use crate::clouds;
use crate::error::{LakeError, Result};
use crate::listed_logs::ListedLogs;
use crate::local_logs::LocalLogs;
use crate::recent_ends::RecentEnds;
use crate::recent_log::RecentLog;
use crate::whole_reads::WholeReads;

/// The root of a lake. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Storage {
    url: Url,
    root: Arc<dyn ObjectStore>,
}

impl Storage {
    /// Opens a lake's root: a folder (made if it isn't there), a `file://` URL, a bucket on S3 (`s3://`) or Azure (`abfss://`,
    /// `az://`), or `memory:///`.
    ///
    /// # Errors
    /// `Invalid` for a URL that this build can't open; `Unavailable` when the folder can't be made.
    pub fn open(location: &str) -> Result<Self> {
        let storage = Self::of(location)?;
        if let Some(escape) = escape_in(storage.url.path()) {
            return Err(LakeError::Configuration {
                message: format!(
                    "storage `{location}` has `{escape}` in its path, which tables' readers take for another letter"
                ),
                help: "rename the folder, or keep the lake in another one".into(),
            });
        }
        Ok(if storage.is_near() { storage } else { storage.remembering() })
    }

    /// The same of a place in which no tables are.
    ///
    /// # Errors
    /// As [`Self::open`], but any folder will do.
    pub(crate) fn of(location: &str) -> Result<Self> {
        if std::env::var_os("AWS_S3_LOCKING_PROVIDER").is_some() {
            return Err(LakeError::Configuration {
                message: "AWS_S3_LOCKING_PROVIDER is set, but commits need no lock table and would only seem to use it"
                    .into(),
                help: "unset it: conditional writes order the commits".into(),
            });
        }
        match Url::parse(location) {
            Ok(url) if url.scheme() == "memory" => Ok(Self::with_store(url, Arc::new(InMemory::new()))),
            Ok(url) if url.scheme() == "file" => match url.to_file_path() {
                Ok(folder) => Self::local(&folder),
                Err(()) => Err(unsupported(location)),
            },
            Ok(url) if location.contains("://") => {
                let environment = std::env::vars_os()
                    .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
                let store = clouds::open(&url, environment)?.ok_or_else(|| unsupported(location))?;
                Ok(Self::with_store(url, store))
            }
            Ok(_) | Err(_) => Self::local(FilePath::new(location)),
        }
    }

    /// Opens what is there already, to read files from that others write: a folder isn't made.
    ///
    /// # Errors
    /// `Invalid` when the folder isn't there, and as [`Self::open`].
    pub fn existing(location: &str) -> Result<Self> {
        let is_path = !location.contains("://");
        if is_path && !FilePath::new(location).exists() {
            return Err(LakeError::Configuration {
                message: format!("folder `{location}` isn't there"),
                help: "make it, or mend the path; relative paths start from the project's folder".into(),
            });
        }
        Self::of(location)
    }

    /// A root on a store whose own root is that of the URL's authority. A read that gives less than was asked for fails.
    #[must_use]
    pub fn with_store(url: Url, root: Arc<dyn ObjectStore>) -> Self {
        Self { url, root: Arc::new(WholeReads::new(root)) }
    }

    /// The same storage of tables, for one process: log entries that it has just read or put, footers of files that it has just opened, and listings of
    /// logs aren't asked for again, which pays where each request costs.
    #[must_use]
    pub fn remembering(self) -> Self {
        let entries = Arc::new(RecentLog::new(self.root));
        Self { root: Arc::new(RecentEnds::new(Arc::new(ListedLogs::new(entries)))), ..self }
    }

    /// Whether it is this machine's.
    fn is_near(&self) -> bool {
        matches!(self.url.scheme(), "file" | "memory")
    }

    /// The root's URL.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// The store; its paths start at the root of the URL's authority (see [`Self::location`]).
    #[must_use]
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.root)
    }

    /// The store's path of a path below the lake's root.
    #[must_use]
    pub fn location(&self, path: &str) -> Path {
        let root = Path::from_url_path(self.url.path()).unwrap_or_default();
        let path = Path::parse(path).unwrap_or_else(|_| Path::from(path));
        Path::from_iter(root.parts().chain(path.parts()))
    }

    /// The URL of a table.
    #[must_use]
    pub fn table_url(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{path}", self.url.path().trim_end_matches('/')));
        url
    }

    /// The URL of an object of the store: another for each object, whatever characters its key has.
    #[must_use]
    pub fn object_url(&self, location: &Path) -> Url {
        let mut escaped = String::from("/");
        for character in location.as_ref().chars() {
            match character {
                // What `Url` would take for an escape or a separator.
                '%' => escaped.push_str("%25"),
                '\\' => escaped.push_str("%5C"),
                other => escaped.push(other),
            }
        }
        let mut url = self.url.clone();
        url.set_path(&escaped);
        url
    }

    /// Asks a bucket for a log that no lake has, so that a bucket that can't be used is told at once and not flow by flow. A folder
    /// was looked at when it was opened.
    ///
    /// # Errors
    /// `Unavailable` when it can't be listed.
    pub async fn reach(&self) -> Result<()> {
        let failed = |source| LakeError::Storage { action: "can't use", path: self.url.to_string(), source };
        if self.is_near() {
            return Ok(());
        }
        self.root.list(Some(&self.location("_delta_log"))).try_next().await.map(drop).map_err(failed)
    }

    /// Whether there is anything under a path.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be listed.
    pub async fn exists(&self, path: &str) -> Result<bool> {
        match self.root.head(&self.location(path)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(LakeError::Storage { action: "can't look for", path: path.to_owned(), source }),
        }
    }

    /// delta-rs's view of a table's folder.
    pub(crate) fn log_store(&self, path: &str) -> Arc<dyn LogStore> {
        let prefixed = Arc::new(PrefixStore::new(self.object_store(), self.location(path)));
        let options = StorageConfig::parse_options(HashMap::<String, String>::new()).unwrap_or_default();
        default_logstore(prefixed, self.object_store(), &self.table_url(path), &options)
    }

    fn local(folder: &FilePath) -> Result<Self> {
        let failed = |source: std::io::Error| LakeError::Storage {
            action: "can't make folder",
            path: folder.display().to_string(),
            source: object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(source) },
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        let url = Url::from_directory_path(&folder).map_err(|()| unsupported(&folder.display().to_string()))?;
        Ok(Self::with_store(url, Arc::new(LocalLogs::new(LocalFileSystem::new()))))
    }
}

/// What looks like a letter's escape in the name of a folder, whose own `%` is escaped in this path of a URL.
fn escape_in(path: &str) -> Option<String> {
    let code = |at: usize| path.get(at..at + 2).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
    path.match_indices("%25").find_map(|(at, percent)| Some(format!("%{}", code(at + percent.len())?)))
}

fn unsupported(location: &str) -> LakeError {
    LakeError::Configuration {
        message: format!("storage `{location}` can't be opened here"),
        help: "use a folder, or a URL that begins with file://, s3://, abfss:// or az://".into(),
    }
}
