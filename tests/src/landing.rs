//! Where files arrive: all of a folder, or what a notice names; and the URLs by which files are known.

use std::collections::HashSet;
use std::sync::Arc;

use headwater_core::error::ErrorKind;
use headwater_core::model::FileOptions;
use headwater_lake::error::LakeError;
use headwater_lake::ingest::Landing;
use headwater_lake::storage::Storage;
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::prelude::*;

use crate::lakes::{lake_of, pipeline, update, values, well};

/// Names that some layer or other would take for something else.
const ODD: [&str; 5] = ["a b.csv", "a%20b.csv", "a+b.csv", "é#1?.csv", "back\\slash.csv"];

#[tokio::test]
async fn a_notice_names_the_file_that_a_list_finds() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    for name in ODD {
        std::fs::write(folder.path().join(name), "n\n1\n").unwrap();
    }
    let landing = Landing::open(root, &FileOptions::default()).unwrap();
    let listed = landing.list().await.unwrap();
    assert_eq!(listed.iter().map(|file| &file.path).collect::<HashSet<_>>().len(), ODD.len(), "{listed:?}");
    let notices: Vec<_> = ODD.iter().map(|name| format!("file://{root}/{name}")).collect();
    assert_eq!(landing.pick(&notices).await.unwrap(), listed);
    assert_eq!(landing.pick(&notices[1..2]).await.unwrap()[0].location.filename(), Some("a%20b.csv"));
}

#[tokio::test]
async fn only_files_of_the_folder_that_are_still_there_are_picked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    for name in ["in/a.csv", "in/b.txt", "in/_c.csv", "in/deep/d.csv", "in2/e.csv"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "n\n1\n").unwrap();
    }
    let names = ["in/a.csv", "in/b.txt", "in/_c.csv", "in/deep/d.csv", "in2/e.csv", "in/gone.csv"];
    let mut notices: Vec<_> = names.iter().map(|name| format!("file://{root}/{name}")).collect();
    notices.extend([format!("s3://elsewhere{root}/in/a.csv"), "in/a.csv".to_owned(), "://".to_owned()]);
    for (path, filter, wanted) in [
        (format!("{root}/in"), None::<&str>, vec!["a.csv", "b.txt", "d.csv"]),
        (format!("{root}/in/*.csv"), None, vec!["a.csv"]),
        (format!("{root}/in"), Some("*.csv"), vec!["a.csv", "d.csv"]),
    ] {
        let options = FileOptions { path_glob_filter: filter.map(str::to_owned), ..FileOptions::default() };
        let picked = Landing::open(&path, &options).unwrap().pick(&notices).await.unwrap();
        let mut found: Vec<_> = picked.iter().filter_map(|file| file.location.filename()).collect();
        found.sort_unstable();
        assert_eq!(found, wanted, "{path} {filter:?}");
    }
}

proptest! {
    #[test]
    fn each_object_has_a_url_of_its_own(key in "[ -~éß\u{1F600}]{1,12}") {
        let Ok(location) = Path::parse(&key) else { return Ok(()) };
        let url = Storage::open("memory:///").unwrap().object_url(&location);
        prop_assert_eq!(Path::from_url_path(url.path()).unwrap(), location);
    }
}

#[tokio::test]
async fn a_project_may_be_in_a_folder_that_looks_like_a_glob() {
    for name in ["a[b]", "{a,b}", "what?", "*"] {
        for path in ["in", "in/", "in/*.json", "*/a.json", "in/a.json", "./in"] {
            let folder = tempfile::tempdir().unwrap();
            let project = folder.path().join(name);
            std::fs::create_dir_all(project.join("in")).unwrap();
            std::fs::write(project.join("in/a.json"), "{\"id\": 7}\n").unwrap();
            let sql = format!(
                "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('{path}', format => 'json', schema => 'id INT');"
            );
            let lake = lake_of(&pipeline(&sql), &project, Arc::new(InMemory::new()));
            well(update(&lake).await);
            assert_eq!(values(&lake, "t", "id").await, ["7"], "{name}/{path}");
        }
    }
}

#[test]
fn a_bucket_that_is_not_named_is_refused_with_what_to_write() {
    for (location, says) in [
        ("s3:///folder", "s3://<bucket>/<folder>"),
        ("abfss://lake@account.example.com/folder", "abfss://<container>@<account>.dfs.core.windows.net/<folder>"),
        ("gs://bucket/folder", "s3://, abfss:// or az://"),
    ] {
        let error = Storage::open(location).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{location}");
        assert!(error.to_string().contains(says), "{location}: {error}");
    }
}

#[test]
fn a_folder_that_looks_escaped_is_refused_before_a_table_is_made_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    for (name, says) in [("My%20Lake", Some("%20")), ("100%", None), ("50%off", None), ("My Lake", None)] {
        let opened = Storage::open(folder.path().join(name).to_str().unwrap());
        let told = opened.err().map(|error| error.to_string());
        assert_eq!(told.is_some(), says.is_some(), "{name}: {told:?}");
        assert!(told.unwrap_or_default().contains(says.unwrap_or_default()));
    }
}

#[test]
fn a_url_with_a_secret_is_refused_and_not_told() {
    for location in [
        "abfss://lake@account.dfs.core.windows.net/folder?sv=2024&sig=hunter2",
        "az://lake/folder?sig=hunter2",
        "https://account.blob.core.windows.net/lake?sig=hunter2",
        "abfss://lake:hunter2@account.dfs.core.windows.net/",
        "s3://key:hunter2@bucket/",
        "s3://bucket/folder#hunter2",
    ] {
        let error = Storage::open(location).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{location}");
        let told = error.to_string();
        assert!(told.contains("AZURE_STORAGE_SAS_TOKEN") && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn what_a_cloud_says_is_told_in_few_words_with_what_to_do() {
    let xml = "<?xml version='1.0'?>\n<Error><Code>NoSuchBucket</Code><Message>It does not exist</Message><Key>k</Key></Error>";
    for (said, wanted) in [
        (format!("404 Not Found: {xml}"), "404 Not Found: NoSuchBucket, It does not exist\n  help: make the bucket"),
        ("HTTP error: error sending request".to_owned(), "HTTP error: error sending request\n  help: nothing answers"),
        ("No space left on device (os error 28)".to_owned(), "(os error 28)\n  help: the disk is full"),
        ("a < b".to_owned(), "a < b"),
    ] {
        let source = object_store::Error::Generic { store: "S3", source: said.into() };
        let told = LakeError::Storage { action: "can't use", path: "s3://lake".into(), source }.to_string();
        let end = told.strip_prefix("can't use s3://lake: Generic S3 error: ").unwrap();
        assert!(end.contains(wanted) && !end.contains("<Code>"), "{told}");
    }
}
