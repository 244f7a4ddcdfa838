//! What a type of Avro is without its logical type.

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, RecordField, UuidSchema};

/// A type by its encoding.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'s> {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    /// A number of bytes.
    Fixed(usize),
    /// The symbols, and the one that stands for all others.
    Enum(&'s [String], Option<&'s String>),
    Array(&'s Schema),
    Map(&'s Schema),
    Record(&'s [RecordField]),
    Union(&'s [Schema]),
    /// A name, which nobody has resolved.
    Name,
}

impl<'s> Kind<'s> {
    pub(super) fn of(schema: &'s Schema) -> Self {
        match schema {
            Schema::Null => Self::Null,
            Schema::Boolean => Self::Boolean,
            Schema::Int | Schema::Date | Schema::TimeMillis => Self::Int,
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Self::Long,
            Schema::Float => Self::Float,
            Schema::Double => Self::Double,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Self::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Self::String,
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                Self::Fixed(fixed.size)
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Self::Bytes,
                InnerDecimalSchema::Fixed(fixed) => Self::Fixed(fixed.size),
            },
            Schema::Enum(of) => Self::Enum(&of.symbols, of.default.as_ref()),
            Schema::Array(array) => Self::Array(&array.items),
            Schema::Map(map) => Self::Map(&map.types),
            Schema::Record(record) => Self::Record(&record.fields),
            Schema::Union(union) => Self::Union(union.variants()),
            Schema::Ref { .. } => Self::Name,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Fixed(_) => "fixed",
            Self::Enum(..) => "enum",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Record(_) => "record",
            Self::Union(_) => "union",
            Self::Name => "a name",
        }
    }
}

/// What the values of a type mean beyond their encoding. Where two differ, a value of one would be taken for another one.
pub(super) fn logical_type(schema: &Schema) -> Option<String> {
    Some(match schema {
        Schema::Decimal(decimal) => format!("a decimal of scale {}", decimal.scale),
        Schema::BigDecimal => "big-decimal".to_owned(),
        Schema::Date => "date".to_owned(),
        Schema::TimeMillis => "time-millis".to_owned(),
        Schema::TimeMicros => "time-micros".to_owned(),
        Schema::TimestampMillis => "timestamp-millis".to_owned(),
        Schema::TimestampMicros => "timestamp-micros".to_owned(),
        Schema::TimestampNanos => "timestamp-nanos".to_owned(),
        Schema::LocalTimestampMillis => "local-timestamp-millis".to_owned(),
        Schema::LocalTimestampMicros => "local-timestamp-micros".to_owned(),
        Schema::LocalTimestampNanos => "local-timestamp-nanos".to_owned(),
        Schema::Duration(_) => "duration".to_owned(),
        Schema::Uuid(_) => "uuid".to_owned(),
        _ => return None,
    })
}
