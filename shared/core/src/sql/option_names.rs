//! Names of reading options: those that are executed, and the others that people's files hold.

use crate::nearest::nearest;

/// Options of table functions that are executed.
pub(super) const KNOWN: [&str; 29] = [
    "format",
    "envelope",
    "schema",
    "schemaHints",
    "inferColumnTypes",
    "inferSchema",
    "header",
    "sep",
    "delimiter",
    "quote",
    "escape",
    "comment",
    "nullValue",
    "maxFilesPerTrigger",
    "maxBytesPerTrigger",
    "pathGlobFilter",
    "includeExistingFiles",
    "schemaEvolutionMode",
    "multiLine",
    "rescuedDataColumn",
    "fileNamePattern",
    "modifiedAfter",
    "modifiedBefore",
    "allowOverwrites",
    "partitionColumns",
    "cleanSource",
    "cleanSource.retentionDuration",
    "cleanSource.moveDestination",
    "backfillInterval",
];

/// Options of streaming reads of tables that are executed.
const OF_STREAMS: [&str; 2] = ["SKIPCHANGECOMMITS", "STARTINGVERSION"];

/// Auto Loader's and Spark's options that aren't executed, and what to do instead.
const REFUSED: [(&str, &[&str]); 11] = [
    (
        "a queue or an event hub is bound to the name under `sources:` of the project file: leave it out",
        &[
            "bootstrapServers",
            "kafka.bootstrap.servers",
            "kafka.group.id",
            "groupIdPrefix",
            "subscribe",
            "subscribePattern",
            "assign",
            "startingOffsets",
            "endingOffsets",
            "maxOffsetsPerTrigger",
            "minPartitions",
            "failOnDataLoss",
            "streamName",
            "initialPosition",
            "consumerGroup",
            "topicId",
            "serviceUrl",
            "topics",
        ],
    ),
    ("schemas are kept in the table: leave it out", &["schemaLocation", "mergeSchema", "samplingRatio"]),
    (
        "a record that can't be decoded goes to the table's quarantine: leave it out",
        &["columnNameOfCorruptRecord", "badRecordsPath", "mode", "ignoreCorruptFiles", "validateOptions"],
    ),
    (
        "read the column as STRING and convert it in the query",
        &[
            "dateFormat",
            "timestampFormat",
            "timestampNTZFormat",
            "timeZone",
            "locale",
            "nanValue",
            "negativeInf",
            "positiveInf",
        ],
    ),
    ("cast the column in the query", &["primitivesAsString", "prefersDecimal", "inferTimestamp", "preferDate"]),
    ("globs don't match over folders, as Spark's: leave it out", &["useStrictGlobber"]),
    ("the table knows its files, however old they are: leave it out", &["maxFileAge", "ignoreMissingFiles"]),
    (
        "folders are read with those inside of them: leave it out",
        &["recursiveFileLookup", "useIncrementalListing", "fetchParallelism", "pathRewrites"],
    ),
    (
        "arrivals are notified as the deployment is set up: leave it out",
        &[
            "useNotifications",
            "useManagedFileEvents",
            "queueUrl",
            "queueName",
            "region",
            "resourceGroup",
            "subscriptionId",
            "projectId",
            "subscription",
            "stsEndpoint",
        ],
    ),
    (
        "credentials come from the environment, never from SQL: leave it out",
        &[
            "roleArn",
            "roleExternalId",
            "roleSessionName",
            "awsAccessKey",
            "awsSecretKey",
            "databricks.serviceCredential",
            "connectionString",
            "tenantId",
            "clientId",
            "clientSecret",
            "clientEmail",
            "privateKey",
            "privateKeyId",
        ],
    ),
    (
        "leave it out",
        &[
            "allowBackslashEscapingAnyCharacter",
            "allowComments",
            "allowNonNumericNumbers",
            "allowNumericLeadingZeros",
            "allowSingleQuotes",
            "allowUnquotedControlChars",
            "allowUnquotedFieldNames",
            "charToEscapeQuoteEscaping",
            "charset",
            "dropFieldIfAllNull",
            "emptyValue",
            "encoding",
            "enforceSchema",
            "ignoreLeadingWhiteSpace",
            "ignoreTrailingWhiteSpace",
            "lineSep",
            "maxCharsPerColumn",
            "maxColumns",
            "readerCaseSensitive",
            "rowTag",
            "singleVariantColumn",
            "skipRows",
            "unescapedQuoteHandling",
            "wholeText",
        ],
    ),
];

/// Options of streaming reads that aren't executed, and what to do instead.
const REFUSED_OF_STREAMS: [(&str, &[&str]); 4] = [
    ("a batch is cut by `max_batch_bytes` of the project file", &["maxFilesPerTrigger", "maxBytesPerTrigger"]),
    ("use STARTINGVERSION", &["startingTimestamp"]),
    (
        "a stream reads the rows that its source added: use SKIPCHANGECOMMITS = true for a source that changes rows",
        &["readChangeFeed", "readChangeData", "ignoreChanges", "ignoreDeletes"],
    ),
    ("leave it out", &["withEventTimeOrder", "failOnDataLoss", "excludeRegex", "schemaTrackingLocation"]),
];

/// Why an option of a table function isn't executed: code, message and what to do.
pub(super) fn refusal(name: &str) -> (&'static str, String, String) {
    refuse(name, &REFUSED, &KNOWN)
}

/// Why an option of a streaming read isn't executed.
pub(super) fn refusal_of_stream(name: &str) -> (&'static str, String, String) {
    refuse(name, &REFUSED_OF_STREAMS, &OF_STREAMS)
}

fn refuse(name: &str, refused: &[(&str, &[&str])], known: &[&str]) -> (&'static str, String, String) {
    let named = refused.iter().flat_map(|(instead, names)| names.iter().map(move |name| (*name, *instead)));
    if let Some((spelled, instead)) = named.clone().find(|(refused, _)| refused.eq_ignore_ascii_case(name)) {
        return ("UNSUPPORTED_OPTION", format!("option `{spelled}` isn't executed"), instead.to_owned());
    }
    let all = known.iter().copied().chain(named.map(|(name, _)| name));
    let help = nearest(name, all)
        .map_or_else(|| format!("known are {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
    ("UNKNOWN_OPTION", format!("there is no option `{name}`"), help)
}
