//! The folder or bucket in which files arrive: what is in it, or what a notice says arrived.

use std::error::Error;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use globset::GlobMatcher;
use headwater_core::model::FileOptions;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use url::Url;

use super::files::FoundFile;
use crate::error::{LakeError, Result};
use crate::storage::Storage;

/// Objects that are looked for at a time.
const LOOKS: usize = 16;

/// A folder, what a glob matches below it, or one file. A folder that a glob matches is all that is below. Names that begin
/// with `.` or `_`, in any folder below, are no part of it.
#[derive(Debug, Clone)]
pub struct Landing {
    storage: Storage,
    path: String,
    glob: Option<GlobMatcher>,
    filter: Option<GlobMatcher>,
    after: Option<DateTime<Utc>>,
    before: Option<DateTime<Utc>>,
}

impl Landing {
    /// Of a path or URL, which may end in a glob; only those files that the options want.
    ///
    /// # Errors
    /// `Invalid` for a glob that can't be read, and for a folder that isn't there.
    pub fn open(path: &str, options: &FileOptions) -> Result<Self> {
        let (root, glob) = split_glob(path);
        Self::below(root, glob, options)
    }

    /// Of a folder or one file, whose path is no glob whatever letters it has, and of what a glob matches below it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn below(root: &str, glob: Option<&str>, options: &FileOptions) -> Result<Self> {
        let path = glob.map_or_else(|| root.to_owned(), |glob| format!("{root}/{glob}"));
        let one_file = glob.is_none().then(|| folder_of_file(root)).flatten();
        let (root, glob) = match &one_file {
            Some((folder, name)) => (folder.as_str(), Some(name.as_str())),
            None => (root, glob),
        };
        let storage = Storage::existing(root)?;
        let filter = options.path_glob_filter.as_deref();
        let (glob, filter) = (glob.map(matcher).transpose()?, filter.map(matcher).transpose()?);
        let (after, before) = (options.modified_after, options.modified_before);
        Ok(Self { storage, path, glob, filter, after, before })
    }

    /// Where it is.
    #[must_use]
    pub const fn storage(&self) -> &Storage {
        &self.storage
    }

    /// All files, oldest first, then by name.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be listed.
    pub async fn list(&self) -> Result<Vec<FoundFile>> {
        let store = self.storage.object_store();
        let objects = store.list(Some(&self.storage.location("")));
        let mut found: Vec<_> = objects
            .try_filter_map(|object| std::future::ready(Ok(self.found(object))))
            .try_collect()
            .await
            .map_err(|source| LakeError::Storage { action: "can't list", path: self.path.clone(), source })?;
        if found.is_empty() && self.may_be_file() {
            found.extend(self.look_for(&self.storage.location("")).await?);
        }
        Ok(by_age(found))
    }

    /// Whether the path is called as files are, and not as folders are.
    fn may_be_file(&self) -> bool {
        self.glob.is_none() && self.storage.location("").filename().is_some_and(|name| name.contains('.'))
    }

    /// A file, if there is one and it is wanted.
    async fn look_for(&self, key: &Path) -> Result<Option<FoundFile>> {
        match self.storage.object_store().head(key).await {
            Ok(object) => Ok(self.found(object)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) if is_no_name(&source) => Ok(None),
            Err(source) => Err(LakeError::Storage { action: "can't look for", path: key.to_string(), source }),
        }
    }

    /// Those of some objects that are files of this place and still there, oldest first, then by name. Objects are
    /// URLs whose path is the key as it is, not encoded.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be asked.
    pub async fn pick(&self, objects: &[String]) -> Result<Vec<FoundFile>> {
        let keys = objects.iter().filter_map(|object| self.key(object)).filter(|key| self.is_wanted(key));
        let looks = futures::stream::iter(keys).map(|key| async move { self.look_for(&key).await });
        let found: Vec<_> = looks.buffer_unordered(LOOKS).try_collect().await?;
        Ok(by_age(found.into_iter().flatten().collect()))
    }

    /// The key of an object, if it is in the same bucket.
    fn key(&self, object: &str) -> Option<Path> {
        let (_, rest) = object.split_once("://")?;
        let (authority, key) = rest.split_once('/')?;
        if container(authority) != container(self.storage.url().authority()) {
            return None;
        }
        Path::parse(key).inspect_err(|error| tracing::warn!(%error, "a file can't be landed: rename it")).ok()
    }

    fn found(&self, object: ObjectMeta) -> Option<FoundFile> {
        let is_in_time = self.after.is_none_or(|after| object.last_modified > after)
            && self.before.is_none_or(|before| object.last_modified < before);
        (is_in_time && self.is_wanted(&object.location)).then(|| FoundFile {
            folders: self.folders(&object.location),
            path: self.storage.object_url(&object.location).to_string(),
            location: object.location,
            size: object.size,
            modified: object.last_modified,
            etag: object.e_tag,
        })
    }

    /// What the names of folders say of a file: `name=value`.
    fn folders(&self, location: &Path) -> Vec<(String, Option<String>)> {
        let parts = location.prefix_match(&self.storage.location("")).into_iter().flatten();
        let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        let folders = &parts[..parts.len().saturating_sub(1)];
        folders.iter().filter_map(|folder| pair(folder)).collect()
    }

    fn is_wanted(&self, location: &Path) -> bool {
        let Some(parts) = location.prefix_match(&self.storage.location("")) else { return false };
        let below: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        let Some(name) = below.last().map(String::as_str).or_else(|| location.filename()) else { return false };
        let is_matched = |glob: &GlobMatcher| (1..=below.len()).any(|parts| glob.is_match(below[..parts].join("/")));
        !below.iter().any(|part| part.starts_with(['.', '_']))
            && self.glob.as_ref().is_none_or(is_matched)
            && self.filter.as_ref().is_none_or(|filter| filter.is_match(name))
    }
}

/// Whether nothing can be called so: no reason to ask again, nor to keep others waiting.
fn is_no_name(error: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind as Io;
    match error.downcast_ref::<std::io::Error>() {
        Some(error) => matches!(error.kind(), Io::NotADirectory | Io::InvalidFilename | Io::InvalidInput),
        None => error.source().is_some_and(is_no_name),
    }
}

/// `name=value` of a folder of Hive's, whose value may be NULL.
fn pair(folder: &str) -> Option<(String, Option<String>)> {
    let (name, value) = folder.split_once('=').filter(|(name, _)| !name.is_empty())?;
    let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((plain(name), (value != "__HIVE_DEFAULT_PARTITION__").then(|| plain(value))))
}

/// The bucket or container: Azure's URLs name it before the account, `<container>@<account>…`, or alone.
fn container(authority: &str) -> &str {
    authority.split('@').next().unwrap_or(authority)
}

fn by_age(mut files: Vec<FoundFile>) -> Vec<FoundFile> {
    files.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    files
}

/// The folder of a file of this machine, and a glob for its name.
fn folder_of_file(path: &str) -> Option<(String, String)> {
    let path = match Url::parse(path) {
        Ok(url) if url.scheme() == "file" => url.to_file_path().ok()?,
        Ok(_) if path.contains("://") => return None,
        Ok(_) | Err(_) => std::path::absolute(path).ok()?,
    };
    let (folder, name) = (path.parent()?.to_str()?, path.file_name()?.to_str()?);
    path.is_file().then(|| (folder.to_owned(), globset::escape(name)))
}

/// The folder before the first part with a glob, and the glob from there on.
#[must_use]
pub fn split_glob(path: &str) -> (&str, Option<&str>) {
    let Some(special) = path.find(['*', '?', '[', '{']) else { return (path, None) };
    match path[..special].rfind('/') {
        Some(slash) => (&path[..slash], Some(path[slash + 1..].trim_end_matches('/'))),
        None => (".", Some(path.trim_end_matches('/'))),
    }
}

fn matcher(glob: &str) -> Result<GlobMatcher> {
    let built = globset::GlobBuilder::new(glob).literal_separator(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| LakeError::Configuration {
        message: format!("glob `{glob}`: {error}"),
        help: "write ?, *, [abc] or {ab,cd}".into(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::ObjectStore;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_path_to_an_object_is_that_object() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for key in ["in/a.json", "in/a.json.gz", "in/b.json"] {
            store.put(&Path::from(key), "{}".into()).await.unwrap();
        }
        let url = Url::parse("memory:///in/a.json").unwrap();
        let storage = Storage::with_store(url, store);
        let [glob, filter] = [None, None];
        let landing = Landing { storage, path: "memory:///in/a.json".into(), glob, filter, after: None, before: None };
        let names = |files: Vec<FoundFile>| files.into_iter().map(|file| file.location.to_string()).collect::<Vec<_>>();
        assert_eq!(names(landing.list().await.unwrap()), ["in/a.json"]);
        let noticed = ["memory:///in/a.json", "memory:///in/b.json"].map(str::to_owned);
        assert_eq!(names(landing.pick(&noticed).await.unwrap()), ["in/a.json"]);
    }
}
