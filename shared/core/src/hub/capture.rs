//! Events in the files that Event Hubs Capture writes.
//!
//! A record of such a file holds an event's sequence number, offset and time; its partition is in the file's path alone. With these an event is known by the
//! same two things as one that was read from the hub: partition and sequence number.
//!
//! Source: "Capture Avro schema" and "Capture file naming" in the documentation of Azure Event Hubs.

use chrono::{DateTime, NaiveDateTime, Utc};

/// The columns of a captured event's record that tell what is known of an event of a hub.
pub const CAPTURED: [&str; 4] = [CAPTURED_NUMBER, "Offset", CAPTURED_TIME, "Body"];
/// The column with the number in the partition, a `BIGINT`.
pub const CAPTURED_NUMBER: &str = "SequenceNumber";
/// The column with the time at which the hub took the event, a text: see [`captured_time`].
pub const CAPTURED_TIME: &str = "EnqueuedTimeUtc";

/// How many digits the parts of a file's time have, from year to second.
const TIME: [usize; 6] = [4, 2, 2, 2, 2, 2];
/// How Capture writes a time, and how a hub's own properties do.
const TIMES: [&str; 2] = ["%m/%d/%Y %I:%M:%S %p", "%Y-%m-%dT%H:%M:%S%.f"];

/// The partition of the events of a file, by the path that Capture gives it: `…/<partition>/<year>/<month>/<day>/<hour>/<minute>/<second>.avro`, with `/`,
/// `_` or `-` between any two. `None` for another path.
#[must_use]
pub fn captured_partition(path: &str) -> Option<&str> {
    let mut rest = path.strip_suffix(".avro")?;
    for digits in TIME.into_iter().rev() {
        let part;
        (rest, part) = split(rest)?;
        if part.len() != digits || !is_number(part) {
            return None;
        }
    }
    let (_, partition) = split(rest)?;
    is_number(partition).then_some(partition)
}

/// The time that a captured record names, such as `11/21/2026 2:05:00 PM`, in UTC.
#[must_use]
pub fn captured_time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim().trim_end_matches('Z');
    TIMES.into_iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).map(|time| time.and_utc())
}

fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once(['/', '_', '-'])
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_files_path_names_the_partition_of_its_events() {
        for path in [
            "az://captured/my-hubs/flights/12/2026/11/21/14/05/00.avro",
            "abfss://c@a.dfs.core.windows.net/my-hubs/flights/12/2026_11_21_14_05_00.avro",
            "file:///captured/my-hubs_flights_12/2026/11/21/14-05-00.avro",
        ] {
            assert_eq!(captured_partition(path), Some("12"), "{path}");
        }
        for path in [
            "az://captured/hubs/flights/a/2026/11/21/14/05/00.avro",
            "az://captured/hubs/flights/12/2026/11/21/14/05.avro",
            "az://captured/hubs/flights/12/26/11/21/14/05/00.avro",
            "az://captured/hubs/flights/12/2026/11/21/14/05/00.parquet",
            "az://captured/planes.avro",
            "",
        ] {
            assert_eq!(captured_partition(path), None, "{path}");
        }
    }

    #[test]
    fn a_time_is_read_as_capture_writes_it() {
        let at = |text| captured_time(text).map(|time| time.to_rfc3339());
        assert_eq!(at("11/21/2026 2:05:09 PM").as_deref(), Some("2026-11-21T14:05:09+00:00"));
        assert_eq!(at("1/2/2026 12:00:00 AM").as_deref(), Some("2026-01-02T00:00:00+00:00"));
        assert_eq!(at("2026-11-21T14:05:09.123Z").as_deref(), Some("2026-11-21T14:05:09.123+00:00"));
        assert_eq!(at("yesterday"), None);
    }

    proptest! {
        #[test]
        fn any_path_and_time_are_read_or_left(text in "\\PC{0,60}") {
            let _ = (captured_partition(&text), captured_time(&text));
        }
    }
}
