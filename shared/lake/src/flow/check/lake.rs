//! Changes of a definition that the table in the lake can't follow.

use headwater_core::diagnostic::Diagnostic;
use headwater_core::model::{Dataset, RelationSource};
use headwater_core::name::{DatasetName, Layer};

use super::Check;
use crate::error::Result;
use crate::flow::stream::progress;
use crate::flow::target::same_columns;
use crate::table::Table;

impl Check<'_> {
    /// What of a definition doesn't fit the lake: kind, layer, partition columns, progress of its streams.
    pub(super) async fn against_lake(&mut self, dataset: &Dataset, existing: Option<&Table>) -> Result<()> {
        if self.anew.contains(&dataset.name) {
            return Ok(());
        }
        match existing {
            Some(table) => {
                self.partitioning(dataset, table).await?;
                self.streams_ahead(dataset, table).await
            }
            None => self.moved(dataset).await,
        }
    }

    async fn partitioning(&mut self, dataset: &Dataset, table: &Table) -> Result<()> {
        let was = table.partitioned_by();
        if !same_columns(&was, &dataset.partitioned_by) && !table.is_empty().await? {
            let shown = |columns: &[String]| if columns.is_empty() { "nothing".into() } else { columns.join(", ") };
            let (was, is) = (shown(&was), shown(&dataset.partitioned_by));
            let message = format!("`{}` is partitioned by {was} in the lake, but by {is} here", dataset.name);
            let remedy = self.rebuild(std::slice::from_ref(&dataset.name), "declare the partition columns that it has");
            self.found
                .push(Diagnostic::error("TABLE_CHANGED.PARTITIONING", message).at(dataset.span.clone()).help(remedy));
        }
        Ok(())
    }

    /// A table of this name in another layer's folder: its kind or its sources have changed.
    async fn moved(&mut self, dataset: &Dataset) -> Result<()> {
        let Some(layer) = dataset.layer else { return Ok(()) };
        for other in [Layer::Bronze, Layer::Silver, Layer::Gold].into_iter().filter(|other| *other != layer) {
            let path = format!("{}/{}", other.folder(), dataset.name.folder());
            if Table::open(self.lake.storage(), &path).await?.is_none() {
                continue;
            }
            let kind = |layer| if layer == Layer::Gold { "a materialized view" } else { "a streaming table" };
            let (code, what) = if kind(other) == kind(layer) {
                ("TABLE_CHANGED.LAYER", format!("a {other} table in the lake, but a {layer} one here"))
            } else {
                ("TABLE_CHANGED.KIND", format!("{} in the lake, but {} here", kind(other), kind(layer)))
            };
            let message = format!("`{}` is {what}: its table is in `{path}`", dataset.name);
            let mut names = vec![dataset.name.clone()];
            names.extend(self.streams_of(&dataset.name));
            let remedy = self.rebuild(&names, "give the table another name");
            self.found.push(Diagnostic::error(code, message).at(dataset.span.clone()).help(remedy));
        }
        Ok(())
    }

    /// A stream that has read further than its source goes: the source was made anew.
    async fn streams_ahead(&mut self, dataset: &Dataset, table: &Table) -> Result<()> {
        for flow in self.lake.pipeline().flows_into(&dataset.name) {
            let Some(stream) = flow.stream() else { continue };
            let RelationSource::TableStream { dataset: source, .. } = &stream.source else { continue };
            let Some(read) = progress(Some(table), &self.lake.app_id(flow)).await? else { continue };
            let version = self.lake.table(source).await?.map(|source| source.version());
            if version.is_none_or(|version| version < read) {
                let now =
                    version.map_or_else(|| "isn't there".to_owned(), |version| format!("is at version {version}"));
                let message =
                    format!("flow `{}` has read `{source}` up to version {read}, but the table {now}", flow.name);
                let remedy = self.rebuild(std::slice::from_ref(&dataset.name), "bring the source's table back");
                let finding = Diagnostic::error("TABLE_CHANGED.SOURCE", message).at(stream.span.clone());
                self.found.push(finding.help(remedy));
            }
        }
        Ok(())
    }

    /// The tables that stream from one, directly or through others.
    fn streams_of(&self, name: &DatasetName) -> Vec<DatasetName> {
        let mut found: Vec<DatasetName> = vec![name.clone()];
        for flow in &self.lake.pipeline().flows {
            let reads = flow.stream().and_then(|stream| stream.dataset()).is_some_and(|source| found.contains(source));
            if reads && !found.contains(&flow.target) {
                found.push(flow.target.clone());
            }
        }
        found.split_off(1)
    }

    /// What rebuilds these tables, or else what to do if they can't be.
    pub(super) fn rebuild(&self, names: &[DatasetName], or_else: &str) -> String {
        if names.iter().all(|name| self.lake.can_reset(name)) {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            return format!("rebuild it with headwater run --full-refresh={}, or {or_else}", names.join(","));
        }
        format!("{or_else}: the messages that a rebuild would need are gone")
    }
}
