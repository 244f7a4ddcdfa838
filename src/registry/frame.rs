//! How a record names the schemas of its value and its key.
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
pub(crate) const OF_VALUE: &str = "__value_schema_id";
/// The header that names the schema of the key.
pub(crate) const OF_KEY: &str = "__key_schema_id";

/// A value with the id of its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'v> {
    pub(crate) id: SchemaId,
    /// What follows the id in the header. `None` if the id is before the value.
    after_id: Option<&'v [u8]>,
    value: &'v [u8],
}

impl<'v> Frame<'v> {
    /// What follows the frame.
    pub(crate) fn value(self) -> &'v [u8] {
        self.value
    }

    /// Which message of a Protobuf schema the value is: its place in the file, its place in that message, and so on. With what
    /// follows the frame.
    ///
    /// # Errors
    /// When the frame ends before that.
    #[cfg(feature = "protobuf")]
    pub(crate) fn message(self) -> Result<(Vec<usize>, &'v [u8]), String> {
        let mut rest = self.after_id.unwrap_or(self.value);
        let mut next = || zigzag(&mut rest).ok_or_else(|| "the indexes of the message are not complete".to_owned());
        let indexes = match next()? {
            // The first message has a short form.
            0 => vec![0],
            count @ 1..=MOST_INDEXES => (0..count).map(|_| next()).collect::<Result<_, _>>()?,
            count => return Err(format!("the frame names a message by {count} indexes")),
        };
        Ok((indexes, if self.after_id.is_some() { self.value } else { rest }))
    }
}

/// The deepest nesting of a message in its file.
#[cfg(feature = "protobuf")]
const MOST_INDEXES: usize = 64;

/// The next number in Protobuf's zigzag encoding.
#[cfg(feature = "protobuf")]
fn zigzag(bytes: &mut &[u8]) -> Option<usize> {
    let length = 1 + bytes.iter().take(9).take_while(|byte| **byte > 0x7f).count();
    let (number, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    let number = number.iter().rev().fold(0_u64, |number, byte| number << 7 | u64::from(byte & 0x7f));
    usize::try_from(number / 2).ok().filter(|_| number % 2 == 0)
}

/// The id of the schema of `value`, which the header `named` may hold, and what follows the frame.
///
/// # Errors
/// What is wrong with the frame.
pub(crate) fn framed<'v>(value: &'v [u8], headers: &'v [Header], named: &str) -> Result<Frame<'v>, String> {
    if let Some(id) = header(headers, named) {
        let (id, rest) = in_header(id).ok_or_else(|| format!("the header `{named}` holds no id of a schema"))?;
        return Ok(Frame { id, after_id: Some(rest), value });
    }
    match value {
        [NUMBER, a, b, c, d, rest @ ..] => {
            let id = SchemaId::Number(u32::from_be_bytes([*a, *b, *c, *d]));
            Ok(Frame { id, after_id: None, value: rest })
        }
        [NUMBER, ..] | [] => Err("the value is too short to begin with the id of a schema".into()),
        [first, ..] => Err(format!(
            "the value does not begin with the id of a schema: its first byte is {first:#04x} and not 0x00; was it written \
             without a schema registry?"
        )),
    }
}

/// The id in the header, and what follows it.
fn in_header(header: &[u8]) -> Option<(SchemaId, &[u8])> {
    match header.split_first()? {
        (&NUMBER, rest) => {
            let (number, rest) = rest.split_first_chunk()?;
            Some((SchemaId::Number(u32::from_be_bytes(*number)), rest))
        }
        (&GLOBAL, rest) => {
            let (id, rest) = rest.split_first_chunk()?;
            Some((SchemaId::Global(Uuid::from_bytes(*id)), rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_id_is_before_the_value_or_in_a_header() {
        let read = |value: &'static [u8]| framed(value, &[], OF_VALUE).map(|frame| (frame.id, frame.value()));
        assert_eq!(read(b"\0\0\0\x01\x02abc"), Ok((SchemaId::Number(258), &b"abc"[..])));
        assert_eq!(read(b"\0\0\0\0\x07"), Ok((SchemaId::Number(7), &b""[..])));
        let with = |id: &'static [u8]| {
            framed(b"abc", &[(OF_VALUE.to_owned(), Some(id.into()))], OF_VALUE).map(|frame| frame.id)
        };
        assert_eq!(with(b"\0\0\0\0\x09"), Ok(SchemaId::Number(9)));
        assert_eq!(with(b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03"), Ok(SchemaId::Global(Uuid::from_u128(3))));
        for wrong in [&b"\0\0"[..], b"\x01\x02", b"\x05\0\0\0\0", b"9"] {
            assert!(with(wrong).is_err());
        }
    }

    #[test]
    fn the_message_of_a_protobuf_schema_is_named_by_its_places() {
        let message = |value: &'static [u8]| framed(value, &[], OF_VALUE).and_then(|frame| frame.message());
        assert_eq!(message(b"\0\0\0\0\x07\0abc"), Ok((vec![0], &b"abc"[..])));
        assert_eq!(message(b"\0\0\0\0\x07\x04\x02\x06abc"), Ok((vec![1, 3], &b"abc"[..])));
        assert_eq!(message(b"\0\0\0\0\x07\x02\x80\x02"), Ok((vec![128], &b""[..])));
        for wrong in
            [&b"\0\0\0\0\x07"[..], b"\0\0\0\0\x07\x04\x02", b"\0\0\0\0\x07\x01", b"\0\0\0\0\x07\xff\xff\xff\x7f\0"]
        {
            assert!(message(wrong).is_err());
        }
        let header = [(OF_VALUE.to_owned(), Some(Bytes::from_static(b"\0\0\0\0\x09\x02\x04")))];
        assert_eq!(framed(b"abc", &header, OF_VALUE).and_then(|frame| frame.message()), Ok((vec![2], &b"abc"[..])));
    }

    #[test]
    fn a_wrong_frame_is_described() {
        assert!(framed(b"{\"a\":1}", &[], OF_VALUE).unwrap_err().contains("its first byte is 0x7b and not 0x00"));
        for short in [&b""[..], b"\0", b"\0\0\0\0"] {
            assert!(framed(short, &[], OF_VALUE).unwrap_err().contains("too short"));
        }
    }
}
