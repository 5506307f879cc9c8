//! The rows of some files of a table in new files: sorted, where the table is clustered, or else as they come.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;

use crate::align::align;
use crate::curve::ordered;
use crate::error::{LakeError, Result};
use crate::groups::{Format, GroupWriter};
use crate::lake::Lake;
use crate::layout::Layout;
use crate::table::{DataFile, Table};
use crate::uploads::Uploads;
use crate::write::{Files, Writer, Written, discard};

impl Lake {
    /// The rows of a bin as the layout wants them, as many as the log says; no file if anything goes wrong, or if the time is up
    /// (`None`). Rows stream, and what is sorted spills: what is in memory is what a new file's row group needs, and what the engine may use.
    pub(crate) async fn rewrite(
        &self,
        table: &Table,
        bin: &[DataFile],
        (layout, left): (&Layout, Option<Duration>),
    ) -> Result<Option<Written>> {
        let (schema, partitions) = (table.schema(), table.partitioned_by());
        let files =
            Files { partitioned_by: &partitions, target_size: layout.file_size, keys: &layout.keys, values: None };
        let written = if layout.clustered_by.is_empty() {
            let format = Arc::new(Format::uncut(&schema, files, layout.is_changed)?);
            let writer = GroupWriter::new(self.storage(), table.path(), Arc::clone(&format));
            in_time(left, writer.uploads(), self.join(table, bin, (format, writer))).await
        } else {
            let writer = Writer::with_files(self.storage(), table.path(), schema, files)?;
            let writer = if layout.is_changed { writer.with_small_row_groups(layout.file_size) } else { writer };
            in_time(left, writer.uploads(), self.copy(table, (bin, layout), writer)).await
        };
        let Some(mut written) = written? else { return Ok(None) };
        let count = |files: &[DataFile]| files.iter().filter_map(DataFile::num_records).sum::<u64>();
        let new: Vec<DataFile> = written.adds.iter().map(|add| table.data_file(add.clone())).collect();
        let (wanted, found) = (count(bin), count(&new));
        if wanted != found {
            discard(self.storage(), table.path(), written.adds).await;
            return Err(miscounted(self.storage().table_url(table.path()).as_str(), bin, (wanted, found)));
        }
        // The partition stays the same to the letter, whoever wrote its value.
        for (add, file) in written.adds.iter_mut().zip(bin.iter().cycle()) {
            add.partition_values.clone_from(&file.add.partition_values);
        }
        layout.mark(&mut written.adds);
        Ok(Some(written))
    }

    /// Writes the rows of a bin in order. If it fails, no file is left.
    async fn copy(&self, table: &Table, (bin, layout): (&[DataFile], &Layout), mut writer: Writer) -> Result<Written> {
        match self.fill(table, (bin, layout), &mut writer).await {
            Ok(()) => writer.close().await,
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    async fn fill(&self, table: &Table, (bin, layout): (&[DataFile], &Layout), writer: &mut Writer) -> Result<()> {
        let schema = table.schema();
        let rows = bin.iter().filter_map(DataFile::num_records).sum();
        let frame = self.engine().ordered_session().read_table(table.provider_of(bin).await?);
        let frame = ordered(frame.map_err(LakeError::query)?, &layout.clustered_by, rows).await?;
        let mut rows = frame.execute_stream().await.map_err(LakeError::query)?;
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            writer.write(&align(&batch, &schema)?).await?;
        }
        Ok(())
    }
}

/// What a work has written; nothing, and `None`, if the time is up before.
async fn in_time(
    left: Option<Duration>,
    uploads: Uploads,
    work: impl Future<Output = Result<Written>>,
) -> Result<Option<Written>> {
    match tokio::time::timeout(left.unwrap_or(Duration::MAX), Box::pin(work)).await {
        Ok(written) => written.map(Some),
        Err(_) => {
            uploads.discard().await;
            Ok(None)
        }
    }
}

fn miscounted(table: &str, bin: &[DataFile], (wanted, found): (u64, u64)) -> LakeError {
    let files = bin.iter().map(DataFile::path).collect::<Vec<_>>().join(", ");
    LakeError::TableUnusable {
        table: table.to_owned(),
        message: format!(
            "the log counts {wanted} rows in files that hold {found}, so they were left as they are: {files}"
        ),
        help: "restore the files, or fill the table anew with --full-refresh",
    }
}
