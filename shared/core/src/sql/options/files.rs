//! Which files are read, and what becomes of them.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use super::Options;
use crate::model::CleanSource;
use crate::sql::interval::duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Auto Loader's, of `cleanSource.retentionDuration`.
const RETENTION: Duration = Duration::from_secs(30 * 86_400);

impl Options {
    /// Sets an option of files; false if it is none.
    pub(super) fn set_of_files(&mut self, lower: &str, name: &str, value: &str) -> bool {
        match lower {
            "maxfilespertrigger" => {
                self.read.files.max_files = self.number(name, value).and_then(|files| usize::try_from(files).ok());
            }
            "maxbytespertrigger" => self.read.files.max_bytes = self.bytes(name, value),
            "pathglobfilter" | "filenamepattern" => self.read.files.path_glob_filter = Some(value.to_owned()),
            "modifiedafter" => self.read.files.modified_after = self.time(name, value),
            "modifiedbefore" => self.read.files.modified_before = self.time(name, value),
            "includeexistingfiles" => self.read.files.include_existing = self.boolean(name, value),
            "allowoverwrites" => self.read.files.allow_overwrites = self.boolean(name, value),
            "partitioncolumns" => {
                let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                self.read.files.partition_columns = Some(names.map(str::to_owned).collect());
            }
            "cleansource" => self.read.files.clean_source = self.cleaning(name, value),
            "cleansource.retentionduration" => self.retention = self.interval(name, value),
            "cleansource.movedestination" => self.destination = Some(value.to_owned()),
            // Each timer lists the folder, so that no notice that was lost matters.
            "backfillinterval" => drop(self.interval(name, value)),
            _ => return false,
        }
        if !self.is_of_files {
            self.fail("INVALID_OPTION", format!("`{name}` is about files"), "leave it out: messages have none");
        }
        true
    }

    /// `cleanSource` with its options, once all are read.
    pub(super) fn settle_cleaning(&mut self) {
        let (retention, destination) = (self.retention.take(), self.destination.take());
        let after = retention.unwrap_or(RETENTION);
        match (&mut self.read.files.clean_source, destination) {
            (CleanSource::Delete { after: _ }, _) if after <= 7 * DAY => self.fail(
                "INVALID_OPTION",
                "files are kept for at least seven days before they are deleted".into(),
                "write cleanSource.retentionDuration => '8 days' or more, or move them",
            ),
            (CleanSource::Delete { after: set }, None) => *set = after,
            (CleanSource::Move { after: set, to }, Some(destination)) => {
                *set = after;
                *to = destination;
            }
            (CleanSource::Move { .. }, None) => self.fail(
                "MISSING_ARGUMENT",
                "files are to be moved, but it isn't said where to".into(),
                "add cleanSource.moveDestination => 'path', in the same bucket and not below the source",
            ),
            (CleanSource::Off, None) if retention.is_none() => {}
            (CleanSource::Off, _) | (CleanSource::Delete { .. }, Some(_)) => self.fail(
                "INVALID_OPTION",
                "an option of `cleanSource` is given that it doesn't use".into(),
                "write cleanSource => 'MOVE' with a destination, or 'DELETE' without one",
            ),
        }
    }

    /// `partitionColumns`, which only inferred columns are added to.
    pub(super) fn settle_folders(&mut self) {
        let Some(wanted) = &self.read.files.partition_columns else { return };
        if self.read.format.has_fixed_columns() && !wanted.is_empty() {
            let message = "the columns of this format are fixed, and folders add none".to_owned();
            return self.fail("INVALID_OPTION", message, "take them from _metadata.file_path in the query");
        }
        let given = &self.read.schema;
        let is_missing = |name: &&String| !given.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        if let Some(name) = wanted.iter().find(is_missing).filter(|_| !given.is_empty()) {
            let message = format!("`schema` has no column `{name}`, which partitionColumns names");
            self.fail("INVALID_OPTION", message, "add it to `schema` with its type");
        }
    }

    fn cleaning(&mut self, name: &str, value: &str) -> CleanSource {
        match value.to_ascii_uppercase().as_str() {
            "OFF" => CleanSource::Off,
            "DELETE" => CleanSource::Delete { after: RETENTION },
            "MOVE" => CleanSource::Move { after: RETENTION, to: String::new() },
            _ => {
                let message = format!("`{value}` is no value of `{name}`");
                self.fail("INVALID_OPTION", message, "write OFF, DELETE or MOVE");
                CleanSource::Off
            }
        }
    }

    fn interval(&mut self, name: &str, value: &str) -> Option<Duration> {
        let found = duration(value);
        if found.is_none() {
            let message = format!("`{value}` is no value of `{name}`");
            self.fail("INVALID_OPTION", message, "write an interval of fixed length, such as '1 day' or '6 hours'");
        }
        found
    }

    /// A number of bytes, which may have a unit: `10g`, `512 MB`.
    fn bytes(&mut self, name: &str, value: &str) -> Option<u64> {
        let lower = value.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let shift = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            _ => u32::MAX,
        };
        let number = digits.trim().parse::<u64>().ok().filter(|number| *number > 0);
        let bytes = number.zip(1_u64.checked_shl(shift)).and_then(|(number, unit)| number.checked_mul(unit));
        if bytes.is_none() {
            let message = format!("`{value}` is no value of `{name}`");
            self.fail("INVALID_OPTION", message, "write a number of bytes above 0, such as 1073741824 or '1g'");
        }
        bytes
    }

    /// A time; UTC if it doesn't say.
    fn time(&mut self, name: &str, value: &str) -> Option<DateTime<Utc>> {
        let found = time(value.trim());
        if found.is_none() {
            let message = format!("`{value}` is no value of `{name}`");
            self.fail("INVALID_OPTION", message, "write a time such as '2026-01-31T00:00:00Z'");
        }
        found
    }
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.with_timezone(&Utc));
    }
    // Auto Loader's own example ends in `UTC+0`.
    let text = text.trim_end_matches("UTC+0").trim_end_matches("UTC").trim_end();
    let date_time = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let read = date_time.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    read.or_else(date).map(|time| time.and_utc())
}
