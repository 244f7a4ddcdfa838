//! The timestamps of events and columns.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time in microseconds since 1970-01-01T00:00:00Z, the resolution of Postgres. In the years 0 to 9999,
/// which RFC 3339 can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

/// The text is not an RFC 3339 date and time, or its year is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an RFC 3339 timestamp such as 2024-05-20T14:30:00Z")]
pub struct TimestampError(String);

impl Timestamp {
    /// The timestamp `micros` microseconds after 1970-01-01T00:00:00Z. `None` outside of the years 0 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        let time = DateTime::from_timestamp_micros(micros)?;
        (0..=9999).contains(&chrono::Datelike::year(&time)).then_some(Self(time))
    }

    /// The microseconds since 1970-01-01T00:00:00Z.
    pub fn as_micros(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// The time as the type that database drivers take.
    pub fn as_datetime(self) -> DateTime<Utc> {
        self.0
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Parses RFC 3339. Digits after the microseconds are truncated.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .and_then(|time| Self::from_micros(time.timestamp_micros()))
            .ok_or_else(|| TimestampError(text.chars().take(64).collect()))
    }
}

/// RFC 3339 in UTC with six fractional digits, so that texts sort like times.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_parsed_to_the_microsecond_and_sort_like_times() {
        let text = |raw: &str| raw.parse::<Timestamp>().map(|time| time.to_string());
        assert_eq!(text("2024-05-20T14:30:00Z"), Ok("2024-05-20T14:30:00.000000Z".into()));
        assert_eq!(text("2024-05-20T16:30:00.1234567+02:00"), Ok("2024-05-20T14:30:00.123456Z".into()));
        assert!(text("2024-05-20").is_err());
        assert!(text("+294277-01-01T00:00:00Z").is_err());
    }
}
