use proptest::prelude::*;

use super::*;
use crate::notices::NoticeBatch;
use crate::notices::commit::StoredCommit;

const HOST: &str = "https://lake.blob.core.windows.net";

/// As Event Grid writes it in its own schema.
fn created(url: &str) -> Value {
    json!({
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/lake",
        "subject": "/blobServices/default/containers/landing/blobs/x",
        "eventType": "Microsoft.Storage.BlobCreated",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": {"api": "PutBlockList", "eTag": "\"0x8D4BCC2E4835CD0\"", "contentLength": 524288, "blobType": "BlockBlob",
                 "url": url, "sequencer": "00000000000004420000000000028963", "storageDiagnostics": {"batchId": "b"}},
        "dataVersion": "", "metadataVersion": "1", "eventTime": "2026-11-21T10:00:00.1234567Z",
    })
}

/// The same as a CloudEvent.
fn cloud_event(url: &str) -> Value {
    let mut event = created(url);
    event["type"] = event["eventType"].take();
    event["specversion"] = "1.0".into();
    event["source"] = event["topic"].take();
    event
}

fn urls(message: &Value) -> Vec<String> {
    objects(message).iter().map(StoredObject::url).collect()
}

#[test]
fn both_schemas_are_read_however_they_are_encoded() {
    let url = format!("{HOST}/landing/planes/new%20planes%2Btails%20%C3%BCber+all.csv");
    let expected = ["abfss://landing@lake.dfs.core.windows.net/planes/new planes+tails über+all.csv"];
    for event in [created(&url), cloud_event(&url), json!([created(&url)])] {
        let text = Value::String(event.to_string());
        let wrapped = Value::String(in_base64(event.to_string()));
        for message in [event, encoded(&text), encoded(&wrapped), text, wrapped] {
            assert_eq!(urls(&message), expected, "{message}");
        }
    }
}

#[test]
fn a_blob_is_found_in_any_kind_of_url() {
    let cases = [
        ("https://lake.dfs.core.windows.net/landing/a/b.csv", "abfss://landing@lake.dfs.core.windows.net/a/b.csv"),
        (
            "https://lake.blob.core.chinacloudapi.cn/landing/b.csv?x=1",
            "abfss://landing@lake.dfs.core.chinacloudapi.cn/b.csv",
        ),
        ("http://127.0.0.1:10000/devstoreaccount1/landing/a%20b.csv", "az://landing/a b.csv"),
    ];
    for (url, expected) in cases {
        assert_eq!(urls(&created(url)), [expected]);
    }
    for url in [
        "",
        "lake",
        "https://",
        "https://lake.blob.core.windows.net/",
        "https://lake.blob.core.windows.net/landing/",
        "https://lake.blob.core.windows.net//b.csv",
        "https://lake.blob.core.windows.net/landing/%FF",
    ] {
        let error = read(&queued(&created(url)), &function(TriggerKind::Queue)).unwrap_err();
        assert_eq!(error, EventError::Field { place: "[0].data.url".to_owned() }, "{url}");
    }
}

#[test]
fn only_whole_files_are_told_of() {
    let url = format!("{HOST}/landing/a.csv");
    let with = |field: &str, value: &str| {
        let mut event = created(&url);
        event[field] = value.into();
        event
    };
    let begun = |api: &str| {
        let mut event = created(&url);
        event["data"]["api"] = api.into();
        event
    };
    assert!(urls(&begun("CreateFile")).is_empty());
    assert!(urls(&begun("SftpCreate")).is_empty());
    assert_eq!(urls(&begun("FlushWithClose")).len(), 1);
    assert!(urls(&with("eventType", "Microsoft.Storage.BlobDeleted")).is_empty());
    assert!(urls(&with("eventType", "Microsoft.EventGrid.SubscriptionDeletedEvent")).is_empty());
    let renamed = json!({"type": "Microsoft.Storage.BlobRenamed", "data": {
        "api": "RenameFile", "sourceUrl": format!("{HOST}/landing/.tmp"), "destinationUrl": &url}});
    assert_eq!(
        urls(&renamed),
        ["abfss://landing@lake.dfs.core.windows.net/a.csv"],
        "Spark's commits are renamed files"
    );
}

#[test]
fn a_commit_is_known_by_its_key() {
    let url = format!("{HOST}/lake/bronze/ops.flights/_delta_log/00000000000000000012.json");
    let [object] = &objects(&created(&url))[..] else { panic!("one object") };
    let commit = StoredCommit::of(object).unwrap();
    assert_eq!((commit.table.to_string(), commit.version), ("ops.flights".to_owned(), 12));
    let batch: NoticeBatch =
        [("i1".to_owned(), Ok(objects(&created(&url)))), ("i2".to_owned(), Ok(objects(&created(&url))))]
            .into_iter()
            .collect();
    assert_eq!(batch.tables().len(), 1);
}

#[test]
fn what_is_no_notice_is_invalid() {
    let messages = [
        json!("hello"),
        json!("aGVsbG8="),
        json!(""),
        json!(1),
        json!(null),
        json!({}),
        json!([[]]),
        json!("{\"a\""),
        json!({"eventType": 1}),
        json!({"eventType": "Microsoft.Storage.BlobCreated"}),
        json!({"eventType": "Microsoft.Storage.BlobCreated", "data": {}}),
    ];
    for message in messages {
        assert!(read(&queued(&message), &function(TriggerKind::Queue)).is_err(), "{message}");
    }
    assert!(objects(&json!([])).is_empty());
}

/// Every byte but those that a URL's path may hold.
fn percent(key: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'+' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    key.bytes().map(encode).collect()
}

proptest! {
    #[test]
    fn any_name_survives_its_encoding(key in "\\PC{1,40}") {
        let event = created(&format!("{HOST}/landing/{}", percent(&key)));
        let root = "abfss://landing@lake.dfs.core.windows.net".to_owned();
        prop_assert_eq!(objects(&event), [StoredObject { root, key }]);
    }
}
