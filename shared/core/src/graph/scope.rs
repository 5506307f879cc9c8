//! What a written name means at a place of a file.

use crate::diagnostic::Diagnostic;
use crate::name::DatasetName;
use crate::nearest::did_you_mean;
use crate::project::Project;

/// The schema of names without one, when the project file names none.
const DEFAULT_SCHEMA: &str = "default";

/// The defaults at a place of a file; `USE` changes them for the statements after it.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    catalog: Option<String>,
    default_schema: String,
    schema: String,
}

impl Scope {
    /// The defaults at the start of each file.
    pub(super) fn new(project: &Project) -> Self {
        let default_schema = project.schema.clone().unwrap_or_else(|| DEFAULT_SCHEMA.to_owned());
        Self { catalog: project.catalog.clone(), schema: default_schema.clone(), default_schema }
    }

    /// `USE SCHEMA`.
    pub(super) fn use_schema(&mut self, schema: &str) {
        self.schema = schema.to_lowercase();
    }

    /// The dataset that a name of one to three parts stands for. A leading `LIVE` is dropped.
    ///
    /// # Errors
    /// A finding without a place for a name of another catalog, or of too many parts.
    pub(super) fn resolve(&self, parts: &[&str]) -> Result<DatasetName, Diagnostic> {
        match parts {
            [live, rest @ ..] if live.eq_ignore_ascii_case("live") && !rest.is_empty() => self.resolve(rest),
            [name] => Ok(self.dataset(&self.schema, name)),
            [schema, name] => Ok(self.dataset(schema, name)),
            [catalog, schema, name] => {
                self.check_catalog(catalog)?;
                Ok(self.dataset(schema, name))
            }
            _ => Err(Diagnostic::error("INVALID_DATASET_NAME", format!("`{}` has too many parts", parts.join(".")))
                .help("write `name`, `schema.name` or `catalog.schema.name`")),
        }
    }

    fn dataset(&self, schema: &str, name: &str) -> DatasetName {
        if schema.to_lowercase() == self.default_schema {
            DatasetName::new(name)
        } else {
            DatasetName::with_schema(schema, name)
        }
    }

    fn check_catalog(&self, catalog: &str) -> Result<(), Diagnostic> {
        match &self.catalog {
            Some(known) if known != &catalog.to_lowercase() => {
                Err(Diagnostic::error("CATALOG_NOT_FOUND", format!("`{catalog}` is another catalog: a lake is one"))
                    .help(did_you_mean(catalog, [known.as_str()])))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceFile;
    use crate::project::parse;

    fn scope(lines: &str) -> Scope {
        let file = SourceFile::new("pipeline.yml", format!("name: p\nstorage: s\n{lines}"));
        Scope::new(&parse(&file, &Default::default()).project.unwrap())
    }

    #[test]
    fn names_of_the_default_schema_bear_none() {
        let scope = scope("catalog: main\nschema: ops\n");
        for parts in [&["T"][..], &["ops", "t"], &["Main", "OPS", "t"], &["LIVE", "t"], &["live", "ops", "t"]] {
            assert_eq!(scope.resolve(parts).unwrap(), DatasetName::new("t"), "{parts:?}");
        }
        assert_eq!(scope.resolve(&["extra", "t"]).unwrap(), DatasetName::with_schema("extra", "t"));
    }

    #[test]
    fn use_changes_what_comes_after() {
        let mut scope = scope("schema: ops\n");
        scope.use_schema("Extra");
        assert_eq!(scope.resolve(&["t"]).unwrap(), DatasetName::with_schema("extra", "t"));
        assert_eq!(scope.resolve(&["ops", "t"]).unwrap(), DatasetName::new("t"));
    }

    #[test]
    fn other_catalogs_and_longer_names_are_refused() {
        let scope = scope("catalog: main\n");
        assert_eq!(scope.resolve(&["other", "s", "t"]).unwrap_err().code, "CATALOG_NOT_FOUND");
        assert_eq!(scope.resolve(&["a", "b", "c", "d"]).unwrap_err().code, "INVALID_DATASET_NAME");
    }
}
