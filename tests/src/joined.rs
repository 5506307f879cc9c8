//! Compaction copies row groups that are large enough as they are stored, and puts the rows of the others together.

use deltalake::parquet::basic::Compression;
use deltalake::parquet::file::metadata::ColumnChunkMetaData;
use deltalake::parquet::file::reader::{FileReader, SerializedFileReader};
use headwater_lake::storage::Storage;
use headwater_lake::table::Table;
use object_store::ObjectStoreExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::compaction::{check_statistics, compact, outcomes};
use crate::tables::{NUMBERS, append_of, committed, in_memory, numbers, open, put, rows, table_of, with_delta_rs};

/// Of these numbers a group of our own is large, in files of a mebibyte.
const MANY: usize = 20_000;

/// The column of each row group: how it is compressed, and as it is stored.
async fn columns(storage: &Storage, table: &Table) -> Vec<(Compression, Vec<u8>)> {
    let mut columns = Vec::new();
    for file in table.files().await.unwrap() {
        let location = storage.location(&format!("{NUMBERS}/{}", file.path()));
        let bytes = storage.object_store().get(&location).await.unwrap().bytes().await.unwrap();
        let reader = SerializedFileReader::new(bytes.clone()).unwrap();
        let stored = |column: &ColumnChunkMetaData| {
            let (start, length) = column.byte_range();
            (column.compression(), bytes.slice(start as usize..(start + length) as usize).to_vec())
        };
        columns.extend(reader.metadata().row_groups().iter().map(|group| stored(group.column(0))));
    }
    columns
}

#[tokio::test]
async fn large_row_groups_are_copied_and_the_rows_of_others_put_together() {
    let place = in_memory();
    let storage = &place.storage;
    let mut random = StdRng::seed_from_u64(3);
    let mut many = || (0..MANY).map(|_| random.random()).collect::<Vec<i64>>();
    table_of(storage, [1, 2, 3]).await;
    for _ in 0..2 {
        let table = open(storage).await;
        committed(put(storage, &table, &append_of(storage, many()).await).await);
    }
    let own: Vec<_> =
        columns(storage, &open(storage).await).await.into_iter().filter(|(_, bytes)| bytes.len() > MANY).collect();
    with_delta_rs(storage, NUMBERS).await.write([numbers(many())]).await.unwrap();
    let (table, before) = (open(storage).await, rows(storage).await);
    let stored = columns(storage, &table).await;
    let is_ours = |compression: Compression| matches!(compression, Compression::ZSTD(_));
    assert_eq!((own.len(), stored.len()), (2, 6));
    assert_eq!(stored.iter().filter(|(compression, _)| !is_ours(*compression)).count(), 1);

    let report = compact(storage).await;
    assert!(report.is_success() && report.flows.len() == 1, "{:?}", outcomes(&report));

    let compacted = open(storage).await;
    assert_eq!(compacted.files().await.unwrap().len(), 1);
    let joined = columns(storage, &compacted).await;
    assert_eq!(joined.len(), 3, "two groups as they were, and one of all the rest");
    assert!(joined.iter().all(|(compression, _)| is_ours(*compression)));
    assert!(own.iter().all(|group| joined.contains(group)));
    assert_eq!(rows(storage).await, before);
    check_statistics(&compacted).await;
}
