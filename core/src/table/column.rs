//! One column of a read table: name, type, and what it holds when nothing sets it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Value;

/// The type of a column. Each type has one meaning in every store; see [`Value`] for the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnType {
    /// Text of any length, without U+0000.
    Text,
    /// A boolean, true or false.
    Bool,
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// A finite 64-bit float. Not for money: use [`Decimal`](Self::Decimal). Not in keys.
    F64,
    /// An exact decimal of at most 28 digits.
    Decimal {
        /// The number of digits after the decimal point, 0 to 28. A number with more is an error and never rounded.
        scale: u8,
    },
    /// A point in time in UTC, in microseconds.
    Timestamp,
    /// A calendar date without a time zone.
    Date,
    /// A UUID of any version.
    Uuid,
    /// A JSON document. Not in keys.
    Json,
    /// A byte string of any length.
    Bytes,
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Decimal { scale } => write!(f, "decimal({scale})"),
            other => f.write_str(&format!("{other:?}").to_lowercase()),
        }
    }
}

/// What a column holds in a new row if the change that creates the row does not set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// Nothing: the column is part of the key, or every change that may create a row must set it. Never NULL.
    Required,
    /// NULL. Changes may set the column to NULL as well.
    Nullable,
    /// This value. Never NULL.
    Default(Value),
}

/// One column of a read table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) column_type: ColumnType,
    pub(super) presence: Presence,
}

impl Column {
    /// The column's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The column's type.
    pub fn column_type(&self) -> ColumnType {
        self.column_type
    }

    /// What the column holds in a new row if the change that creates the row does not set it.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// The value to which the operations of the change that creates a row apply.
    pub(crate) fn initial(&self) -> Value {
        match &self.presence {
            Presence::Default(value) => value.clone(),
            Presence::Required | Presence::Nullable => Value::Null,
        }
    }
}
