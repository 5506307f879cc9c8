//! Compaction leaves a partition alone while its rows are being changed, and comes back to it.

use std::sync::Arc;

use headwater_core::model::Pipeline;
use headwater_core::name::DatasetName;
use headwater_lake::compact::CompactionPlan;
use headwater_lake::lake::Lake;
use headwater_runtime::local::FunctionKind;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;

use crate::lakes::{Lab, lake_of, pipeline, rows, tick, well};

const SQL: &str = "
    CREATE STREAMING TABLE sent AS
      SELECT * FROM STREAM read_files('in', format => 'json', schema => 'place STRING, k STRING, n INT');
    CREATE STREAMING TABLE latest PARTITIONED BY (place);
    CREATE FLOW changes AS AUTO CDC INTO latest FROM STREAM sent KEYS (place, k) SEQUENCE BY n;";

/// Two small files are enough for compaction.
fn eager(mut pipeline: Pipeline) -> Pipeline {
    pipeline.settings.compact_min_files = 2;
    pipeline
}

/// Files of one key each in two partitions; then a key of one of them is changed three times.
async fn changed(lab: &Lab, lake: &Lake, files: usize) {
    for n in 0..files + 3 {
        let row = |place: &str, key: usize| format!("{{\"place\":\"{place}\",\"k\":\"{key}\",\"n\":{n}}}\n");
        let rows = if n < files { [row("busy", n), row("calm", n)].concat() } else { row("busy", 0) };
        lab.arrive(&format!("{n:03}.json"), rows);
        for function in [FunctionKind::BronzeFiles, FunctionKind::Silver] {
            well(tick(lake, function).await);
        }
    }
}

async fn plan(lake: &Lake) -> CompactionPlan {
    lake.plan_compaction(&[DatasetName::new("latest")]).await.unwrap().remove(0)
}

/// All commits of the table were made ten minutes before.
async fn age(store: &dyn ObjectStore, version: u64) {
    for version in 0..=version {
        let entry = Path::from(format!("silver/latest/_delta_log/{version:020}.json"));
        let text = store.get(&entry).await.unwrap().bytes().await.unwrap();
        let mut aged = String::new();
        for line in std::str::from_utf8(&text).unwrap().lines() {
            let mut action: Value = serde_json::from_str(line).unwrap();
            if let Some(at) = action.pointer_mut("/commitInfo/timestamp") {
                *at = (at.as_i64().unwrap() - 600_000).into();
            }
            aged = format!("{aged}{action}\n");
        }
        store.put(&entry, aged.into()).await.unwrap();
    }
}

#[tokio::test]
async fn a_partition_whose_rows_are_changed_is_compacted_once_it_is_calm() {
    let lab = Lab::new();
    let pipeline = eager(pipeline(SQL));
    let lake = || lake_of(&pipeline, lab.folder.path(), Arc::new(lab.store.clone()));
    changed(&lab, &lake(), 5).await;
    let table = lake().table(&DatasetName::new("latest")).await.unwrap().unwrap();
    let in_place = |files: &[headwater_lake::table::DataFile], place: &str| {
        files.iter().filter(|file| file.path().starts_with(&format!("place={place}"))).count()
    };
    let files = table.files().await.unwrap();
    let (busy, calm) = (in_place(&files, "busy"), in_place(&files, "calm"));
    assert_eq!((busy, calm), (5, 5));
    let before = rows(&lake(), &DatasetName::new("latest")).await;

    let planned = plan(&lake()).await;
    assert_eq!((planned.rewritten, planned.slices, planned.spared), (calm, 1, busy));
    well(tick(&lake(), FunctionKind::Compact).await);
    let table = lake().table(&DatasetName::new("latest")).await.unwrap().unwrap();
    let files = table.files().await.unwrap();
    assert_eq!((in_place(&files, "busy"), in_place(&files, "calm")), (busy, 1));
    assert_eq!(rows(&lake(), &DatasetName::new("latest")).await, before);

    age(&lab.store, table.version()).await;
    let planned = plan(&lake()).await;
    assert_eq!((planned.rewritten, planned.spared), (busy, 0));
    well(tick(&lake(), FunctionKind::Compact).await);
    let table = lake().table(&DatasetName::new("latest")).await.unwrap().unwrap();
    assert_eq!(table.files().await.unwrap().len(), 2);
    assert_eq!(rows(&lake(), &DatasetName::new("latest")).await, before);
}

#[tokio::test]
async fn a_busy_partition_of_many_files_is_compacted_all_the_same() {
    let lab = Lab::new();
    let pipeline = eager(pipeline(SQL));
    let lake = lake_of(&pipeline, lab.folder.path(), Arc::new(lab.store.clone()));
    changed(&lab, &lake, 8).await;
    let planned = plan(&lake).await;
    assert_eq!((planned.slices, planned.spared), (2, 0), "{planned:?}");
}
