//! The types of values, as far as they are known before an event is.

use std::fmt;

use readcast_core::ColumnType;

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not known before the event is.
    Any,
    Null,
    Bool,
    Int,
    Decimal,
    Double,
    Text,
    Bytes,
    Time,
    Date,
    Duration,
    List,
    Map,
}

impl Kind {
    /// Whether the type is a number's.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Decimal | Self::Double)
    }

    /// Whether a value of this type may be one of `other`.
    pub(crate) fn may_be(self, other: Self) -> bool {
        self == Self::Any || other == Self::Any || self == other || self.is_number() && other.is_number()
    }

    /// Whether a value of this type may be stored in a column.
    pub(crate) fn fits(self, column: ColumnType) -> bool {
        matches!(
            (self, column),
            (Self::Any | Self::Null, _)
                | (_, ColumnType::Json)
                | (Self::Text, ColumnType::Text | ColumnType::Uuid | ColumnType::Timestamp | ColumnType::Date)
                | (Self::Text | Self::Int | Self::Decimal | Self::Double, ColumnType::Decimal { .. })
                | (Self::Int | Self::Decimal | Self::Double, ColumnType::F64)
                | (Self::Int | Self::Decimal, ColumnType::I32 | ColumnType::I64)
                | (Self::Bool, ColumnType::Bool)
                | (Self::Bytes, ColumnType::Bytes)
                | (Self::Time, ColumnType::Timestamp)
                | (Self::Date, ColumnType::Date)
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any value",
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Decimal => "a decimal",
            Self::Double => "a float",
            Self::Text => "a text",
            Self::Bytes => "bytes",
            Self::Time => "a timestamp",
            Self::Date => "a date",
            Self::Duration => "a duration",
            Self::List => "a list",
            Self::Map => "a map",
        })
    }
}
