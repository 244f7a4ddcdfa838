//! Values as JSON, with every digit of their numbers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::Datum;

/// The value as JSON text. Times, dates and durations are texts, byte strings are in base64.
pub(crate) fn to_json(value: &Datum<'_>) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

impl Serialize for Datum<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(number) => serializer.serialize_i64(*number),
            // As a number with its digits, which only serde_json can be asked for.
            Self::Decimal(number) => {
                RawValue::from_string(number.to_string()).map_err(S::Error::custom)?.serialize(serializer)
            }
            Self::Double(number) if number.is_finite() => serializer.serialize_f64(*number),
            Self::Double(number) => Err(S::Error::custom(format_args!("JSON has no number {number}"))),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            Self::Time(time) => serializer.collect_str(time),
            Self::Date(date) => serializer.collect_str(date),
            Self::Duration(duration) => serializer.collect_str(&super::seconds(*duration)),
            Self::List(items) => serializer.collect_seq(items.iter()),
            Self::Map(fields) => {
                let mut map = serializer.serialize_map(None)?;
                for name in fields.names() {
                    map.serialize_entry(name, &fields.get(name))?;
                }
                map.end()
            }
        }
    }
}
