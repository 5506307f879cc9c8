//! What a path in SQL stands for, by the project's roots.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::nearest::did_you_mean;

/// The folder or URL behind a path.
///
/// The longest root that is a prefix of the path, part by part, is replaced by its target. A root
/// without `/` and `:` is a named one: `landing` serves `landing:/x`. Other paths stay as they are.
///
/// # Errors
/// A finding without a place for a path of another product's file system that has no root.
pub(super) fn resolve(path: &str, roots: &BTreeMap<String, String>) -> Result<String, Diagnostic> {
    let found = roots
        .iter()
        .filter_map(|(root, target)| Some((root, target, rest(path, root)?)))
        .max_by_key(|(root, ..)| root.len());
    if let Some((_, target, rest)) = found {
        let (target, rest) = (target.trim_end_matches('/'), rest.trim_matches('/'));
        return Ok(if rest.is_empty() { target.to_owned() } else { format!("{target}/{rest}") });
    }
    let is_foreign = ["/Volumes/", "dbfs:", "/dbfs/"].iter().any(|prefix| path.starts_with(prefix));
    if is_foreign {
        return Err(unmapped(path));
    }
    match path.split_once(':') {
        Some((name, rest)) if !rest.starts_with("//") && name.len() > 1 && !name.contains('/') => {
            Err(Diagnostic::error(
                "UNMAPPED_PATH",
                format!("`{path}` names the root `{name}`, which the project file doesn't have"),
            )
            .help(did_you_mean(name, roots.keys().map(String::as_str))))
        }
        _ => Ok(path.to_owned()),
    }
}

fn rest<'p>(path: &'p str, root: &str) -> Option<&'p str> {
    if root.contains(['/', ':']) {
        path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    } else {
        path.strip_prefix(root)?.strip_prefix(':').filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn unmapped(path: &str) -> Diagnostic {
    let parts: Vec<&str> = path.split('/').take(4).collect();
    Diagnostic::error("UNMAPPED_PATH", format!("`{path}` is a path of another product's file system"))
        .help(format!("say in the project file what it stands for:\n    roots:\n      {}: data", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> BTreeMap<String, String> {
        [
            ("/Volumes/main", "data"),
            ("/Volumes/main/raw", "s3://b/raw/"),
            ("landing", "/srv/landing"),
            ("dbfs:/mnt", "m"),
        ]
        .map(|(root, target)| (root.to_owned(), target.to_owned()))
        .into()
    }

    #[test]
    fn the_longest_root_is_replaced() {
        let resolved = |path: &str| resolve(path, &roots()).unwrap();
        assert_eq!(resolved("/Volumes/main/x.csv"), "data/x.csv");
        assert_eq!(resolved("/Volumes/main/raw/a/"), "s3://b/raw/a");
        assert_eq!(resolved("/Volumes/main"), "data");
        assert_eq!(resolved("landing:/x"), "/srv/landing/x");
        assert_eq!(resolved("landing://x"), "/srv/landing/x");
        assert_eq!(resolved("dbfs:/mnt/x"), "m/x");
    }

    #[test]
    fn other_paths_stay() {
        for path in ["data/x", "/srv/x", "s3://b/x", "landings/x", "file:///x", "C:/x"] {
            assert_eq!(resolve(path, &roots()).unwrap(), path);
        }
    }

    #[test]
    fn foreign_paths_without_a_root_are_refused() {
        for path in ["/Volumes/other/x", "dbfs:/x", "lnding:/x"] {
            assert_eq!(resolve(path, &roots()).unwrap_err().code, "UNMAPPED_PATH", "{path}");
        }
        assert!(resolve("lnding:/x", &roots()).unwrap_err().help.unwrap().contains("`landing`"));
    }
}
