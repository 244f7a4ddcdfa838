//! The fields of events, and the types of columns that hold what was seen in them.

use readcast_core::{Date, Timestamp, Uuid};

use crate::datum::Datum;

/// A field of the data.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) path: Vec<String>,
    pub(super) kind: Guess,
    /// In how many events it is there and not null.
    pub(super) present: usize,
    /// In how many events it is the record's key.
    pub(super) is_key: usize,
}

/// The type of a column that holds every value that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    /// Only null was seen.
    Unknown,
    Bool,
    I64,
    Decimal(u32),
    F64,
    Timestamp,
    Date,
    Uuid,
    Text,
    Json,
}

impl Guess {
    pub(super) fn of(value: &Datum<'_>) -> Self {
        match value {
            Datum::Null => Self::Unknown,
            Datum::Bool(_) => Self::Bool,
            Datum::Int(_) => Self::I64,
            Datum::Decimal(number) => Self::Decimal(number.as_rust_decimal().scale().max(2)),
            Datum::Double(_) => Self::F64,
            Datum::Time(_) => Self::Timestamp,
            Datum::Date(_) => Self::Date,
            Datum::Text(text) if text.parse::<Timestamp>().is_ok() => Self::Timestamp,
            Datum::Text(text) if text.len() == 10 && Date::parse_from_str(text, "%Y-%m-%d").is_ok() => Self::Date,
            Datum::Text(text) if text.len() == 36 && Uuid::parse_str(text).is_ok() => Self::Uuid,
            Datum::Text(_) | Datum::Bytes(_) | Datum::Duration(_) => Self::Text,
            Datum::List(_) | Datum::Map(_) => Self::Json,
        }
    }

    /// What holds the values of both.
    pub(super) fn joined(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Unknown, known) | (known, Self::Unknown) => known,
            (Self::Decimal(a), Self::Decimal(b)) => Self::Decimal(a.max(b)),
            (Self::I64, Self::Decimal(scale)) | (Self::Decimal(scale), Self::I64) => Self::Decimal(scale),
            (Self::F64, Self::I64 | Self::Decimal(_)) | (Self::I64 | Self::Decimal(_), Self::F64) => Self::F64,
            (
                Self::Text | Self::Uuid | Self::Date | Self::Timestamp,
                Self::Text | Self::Uuid | Self::Date | Self::Timestamp,
            ) => Self::Text,
            _ => Self::Json,
        }
    }

    pub(super) fn is_for_keys(self) -> bool {
        matches!(self, Self::I64 | Self::Uuid | Self::Text)
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Bool => "bool".into(),
            Self::I64 => "i64".into(),
            Self::Decimal(scale) => format!("decimal({scale})"),
            Self::F64 => "f64".into(),
            Self::Timestamp => "timestamp".into(),
            Self::Date => "date".into(),
            Self::Uuid => "uuid".into(),
            Self::Text | Self::Unknown => "text".into(),
            Self::Json => "json".into(),
        }
    }
}

impl Field {
    /// A name of a column that is like the path.
    pub(super) fn column(&self) -> String {
        let mut name = String::new();
        for (place, part) in self.path.iter().enumerate() {
            if place > 0 {
                name.push('_');
            }
            let mut before = '_';
            for letter in part.chars() {
                if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
                    name.push('_');
                }
                before = letter;
                name.push(if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' });
            }
        }
        if name.starts_with(|first: char| first.is_ascii_digit()) { format!("f_{name}") } else { name }
    }

    /// The expression of the field. It is optional where it was missing.
    pub(super) fn expression(&self, events: usize) -> String {
        let is_name = |name: &str| {
            name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
                && !name.starts_with(|first: char| first.is_ascii_digit())
        };
        let optional = if self.present < events { "?" } else { "" };
        self.path.iter().fold("data".to_owned(), |path, name| {
            if is_name(name) { format!("{path}.{optional}{name}") } else { format!("{path}[{optional}{name:?}]") }
        })
    }
}

impl Guess {
    /// Whether a column of this type takes values of the other without a conversion.
    pub(super) fn holds(self, other: Self) -> bool {
        self == Self::Json || self.joined(other) == self
    }
}
