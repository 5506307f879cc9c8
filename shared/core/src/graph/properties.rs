//! Table properties and settings: which are known, and what about the others.
//!
//! Properties without a known prefix (`quality = 'silver'`) are the user's own and are kept.

use crate::diagnostic::Diagnostic;
use crate::nearest::did_you_mean;

/// Key columns by which the first row of each key is kept, comma separated.
pub const DEDUP_KEYS: &str = "headwater.dedup.keys";
/// `false` exempts a table from full refreshes.
pub const RESET_ALLOWED: &str = "pipelines.reset.allowed";

const HEADWATER: [&str; 1] = [DEDUP_KEYS];
/// Whether columns of the table may get wider types, by [Delta's feature](https://github.com/delta-io/delta/blob/master/PROTOCOL.md#type-widening).
pub const ENABLE_TYPE_WIDENING: &str = "delta.enableTypeWidening";
/// Seconds for which the delete of a row is remembered, in case an earlier change of the row comes later.
pub const TOMBSTONE_SECONDS: &str = "pipelines.cdc.tombstoneGCThresholdInSeconds";

/// Columns that the table is clustered by, comma separated; with partition columns too, unlike `CLUSTER BY`.
pub const Z_ORDER: &str = "pipelines.autoOptimize.zOrderCols";

const PIPELINES: [&str; 3] = [RESET_ALLOWED, TOMBSTONE_SECONDS, Z_ORDER];
const PIPELINES_WITHOUT_EFFECT: [&str; 4] = [
    "pipelines.autoOptimize.managed",
    "pipelines.channel",
    "pipelines.trigger.interval",
    "pipelines.incompatibleViewCheck.enabled",
];
const DELTA: [&str; 13] = [
    "delta.appendOnly",
    "delta.checkpointInterval",
    "delta.checkpointPolicy",
    "delta.dataSkippingNumIndexedCols",
    "delta.dataSkippingStatsColumns",
    "delta.deletedFileRetentionDuration",
    "delta.enableChangeDataFeed",
    "delta.enableExpiredLogCleanup",
    "delta.enableTypeWidening",
    "delta.isolationLevel",
    "delta.logRetentionDuration",
    "delta.randomizeFilePrefixes",
    "delta.targetFileSize",
];
const DELTA_WITHOUT_EFFECT: [&str; 4] = [
    "delta.autoOptimize.autoCompact",
    "delta.autoOptimize.optimizeWrite",
    "delta.tuneFileSizesForRewrites",
    "delta.parquet.compression.codec",
];
const DELTA_REFUSED: [&str; 6] = [
    "delta.columnMapping.mode",
    "delta.enableDeletionVectors",
    "delta.enableRowTracking",
    "delta.minReaderVersion",
    "delta.minWriterVersion",
    "delta.enableIcebergCompatV2",
];

/// By this property tables forget what was read into them.
pub const FORGETS: &str = "delta.setTransactionRetentionDuration";

/// What is wrong with a table property, if anything; without a place.
pub(crate) fn check(key: &str, value: &str) -> Option<Diagnostic> {
    match key.split('.').next().unwrap_or_default().to_lowercase().as_str() {
        "headwater" if HEADWATER.contains(&key) => None,
        "headwater" => Some(unknown(key, &HEADWATER)),
        "pipelines" if key == RESET_ALLOWED => check_boolean(key, value),
        "pipelines" if key == TOMBSTONE_SECONDS => check_seconds(key, value),
        "pipelines" if key == Z_ORDER => check_columns(key, value),
        "pipelines" if PIPELINES_WITHOUT_EFFECT.contains(&key) => Some(without_effect(key)),
        "pipelines" => Some(unknown(key, &PIPELINES)),
        "delta" => check_delta(key, value),
        "spark" => Some(without_effect(key)),
        _ => None,
    }
}

fn check_delta(key: &str, value: &str) -> Option<Diagnostic> {
    if DELTA.contains(&key) || (DELTA_REFUSED.contains(&key) && value.eq_ignore_ascii_case("false")) {
        return None;
    }
    if DELTA_WITHOUT_EFFECT.contains(&key) {
        return Some(without_effect(key));
    }
    if DELTA_REFUSED.contains(&key) {
        let message = format!("the table feature behind `{key}` is not written");
        return Some(
            Diagnostic::error("UNSUPPORTED_TABLE_PROPERTY", message)
                .help("remove it: tables are kept readable by every Delta reader"),
        );
    }
    if key == FORGETS {
        let message = format!("`{key}` would let the table forget what was read into it, which would then come again");
        return Some(Diagnostic::error("UNSUPPORTED_TABLE_PROPERTY", message).help("remove it"));
    }
    Some(unknown(key, &DELTA))
}

fn check_boolean(key: &str, value: &str) -> Option<Diagnostic> {
    let sound = ["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word));
    (!sound).then(|| {
        Diagnostic::error("INVALID_TABLE_PROPERTY", format!("`{key}` is `true` or `false`, not `{value}`"))
            .help(format!("write `'{key}' = 'false'`"))
    })
}

fn check_seconds(key: &str, value: &str) -> Option<Diagnostic> {
    value.parse::<u32>().is_err().then(|| {
        Diagnostic::error("INVALID_TABLE_PROPERTY", format!("`{key}` is a number of seconds, not `{value}`"))
            .help(format!("write `'{key}' = '172800'` for two days"))
    })
}

fn check_columns(key: &str, value: &str) -> Option<Diagnostic> {
    columns(value).iter().any(String::is_empty).then(|| {
        Diagnostic::error("INVALID_TABLE_PROPERTY", format!("`{key}` is a list of columns, not `{value}`"))
            .help(format!("write `'{key}' = 'a, b'`, or CLUSTER BY (a, b)"))
    })
}

/// `'a, b'` as columns.
pub(crate) fn columns(value: &str) -> Vec<String> {
    value.split(',').map(|column| column.trim().trim_matches('`').to_owned()).collect()
}

/// A warning for a setting of Spark, which has no effect besides `${…}`; `None` for the user's own.
pub(crate) fn check_configuration(key: &str) -> Option<Diagnostic> {
    let foreign = ["spark.", "pipelines.", "delta."].iter().any(|prefix| key.to_lowercase().starts_with(prefix));
    foreign.then(|| without_effect(key))
}

fn without_effect(key: &str) -> Diagnostic {
    Diagnostic::warning("SETTING_WITHOUT_EFFECT", format!("`{key}` has no effect here"))
        .help("remove it, unless the file also runs elsewhere")
}

fn unknown(key: &str, known: &[&str]) -> Diagnostic {
    Diagnostic::error("UNKNOWN_TABLE_PROPERTY", format!("unknown table property `{key}`"))
        .help(did_you_mean(key, known.iter().copied()))
}
