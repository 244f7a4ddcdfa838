//! How a record names the schema of its value.
//!
//! Source: <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>.

use readcast_core::{Header, header};
use uuid::Uuid;

use super::SchemaId;

/// The first byte where a number follows.
const NUMBER: u8 = 0;
/// The first byte where the id is one for every registry. Only headers have such ids.
const GLOBAL: u8 = 1;
/// The header that names the schema of the value.
const HEADER: &str = "__value_schema_id";

/// The id of the schema of `value`, and what follows the frame.
///
/// # Errors
/// What is wrong with the frame.
pub(crate) fn framed<'v>(value: &'v [u8], headers: &[Header]) -> Result<(SchemaId, &'v [u8]), String> {
    if let Some(id) = header(headers, HEADER) {
        let id = in_header(id).ok_or_else(|| format!("the header `{HEADER}` holds no id of a schema"))?;
        return Ok((id, value));
    }
    match value {
        [NUMBER, a, b, c, d, rest @ ..] => Ok((SchemaId::Number(u32::from_be_bytes([*a, *b, *c, *d])), rest)),
        [NUMBER, ..] | [] => Err("the value is too short to begin with the id of a schema".into()),
        [first, ..] => Err(format!(
            "the value does not begin with the id of a schema: its first byte is {first:#04x} and not 0x00; was it written \
             without a schema registry?"
        )),
    }
}

fn in_header(id: &[u8]) -> Option<SchemaId> {
    match id.split_first()? {
        (&NUMBER, number) => Some(SchemaId::Number(u32::from_be_bytes(number.try_into().ok()?))),
        (&GLOBAL, id) => Some(SchemaId::Global(Uuid::from_slice(id).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_before_the_value_or_in_a_header() {
        assert_eq!(framed(b"\0\0\0\x01\x02abc", &[]), Ok((SchemaId::Number(258), &b"abc"[..])));
        assert_eq!(framed(b"\0\0\0\0\x07", &[]), Ok((SchemaId::Number(7), &b""[..])));
        let with = |id: &'static [u8]| framed(b"abc", &[(HEADER.to_owned(), Some(id.into()))]).map(|(id, _)| id);
        assert_eq!(with(b"\0\0\0\0\x09"), Ok(SchemaId::Number(9)));
        assert_eq!(with(b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03"), Ok(SchemaId::Global(Uuid::from_u128(3))));
        for wrong in [&b"\0\0"[..], b"\x01\x02", b"\x05\0\0\0\0", b"9"] {
            assert!(with(wrong).is_err());
        }
    }

    #[test]
    fn a_wrong_frame_is_described() {
        assert!(framed(b"{\"a\":1}", &[]).unwrap_err().contains("its first byte is 0x7b and not 0x00"));
        for short in [&b""[..], b"\0", b"\0\0\0\0"] {
            assert!(framed(short, &[]).unwrap_err().contains("too short"));
        }
    }
}
