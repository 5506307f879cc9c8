//! Time travel: which state of a table is meant.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};

/// A state of a table that may have gone by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// `VERSION AS OF`: this version.
    Version(u64),
    /// `TIMESTAMP AS OF`: the last version that was committed by then.
    Time(DateTime<Utc>),
}

impl AsOf {
    /// A day, or a time with a zone or in UTC.
    #[must_use]
    pub fn time(text: &str) -> Option<Self> {
        let zoned = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
        let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
        let plain = || formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
        let day = || text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
        zoned().or_else(|| plain().or_else(day).map(|time| time.and_utc())).map(Self::Time)
    }
}

impl FromStr for AsOf {
    type Err = String;

    /// A number is a version, all else is a time.
    fn from_str(text: &str) -> Result<Self, String> {
        let version = text.parse().ok().map(Self::Version);
        let help = "give a version such as 12, a day such as 2025-01-31, or a time such as 2025-01-31T10:00:00Z";
        version.or_else(|| Self::time(text)).ok_or_else(|| help.to_owned())
    }
}

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::Time(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_days_and_times_are_told_apart() {
        let day = "2026-01-31T00:00:00Z".parse().unwrap();
        let noon = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("12", AsOf::Version(12)),
            ("2026-01-31", AsOf::Time(day)),
            ("2026-01-31T12:00:00Z", AsOf::Time(noon)),
            ("2026-01-31T13:00:00+01:00", AsOf::Time(noon)),
            ("2026-01-31 12:00:00", AsOf::Time(noon)),
            ("2026-01-31 12:00", AsOf::Time(noon)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "-1", "yesterday", "2026-13-01", "12:00"] {
            assert!(text.parse::<AsOf>().is_err(), "{text}");
        }
        assert_eq!(AsOf::Time(noon).to_string(), "2026-01-31T12:00:00Z");
    }
}
