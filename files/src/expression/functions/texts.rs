//! Functions of texts.

use super::{ANY, Function, INT, LIST, TEXT, list, place, text};
use crate::datum::Datum;
use crate::expression::Kind;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "`size(x)`: the number of characters of a text, of bytes, of items of a list, or of fields of a map",
        "size",
        &[ANY],
        Kind::Int,
        size,
    ),
    Function::new("`lower(x)`: the text in lower case", "lower", &[TEXT], Kind::Text, |of| {
        made(text(&of[0])?.to_lowercase())
    }),
    Function::new("`upper(x)`: the text in upper case", "upper", &[TEXT], Kind::Text, |of| {
        made(text(&of[0])?.to_uppercase())
    }),
    Function::new("`lowerAscii(x)`: the letters A to Z in lower case", "lowerAscii", &[TEXT], Kind::Text, |of| {
        made(text(&of[0])?.to_ascii_lowercase())
    }),
    Function::new("`upperAscii(x)`: the letters a to z in upper case", "upperAscii", &[TEXT], Kind::Text, |of| {
        made(text(&of[0])?.to_ascii_uppercase())
    }),
    Function::new("`trim(x)`: the text without white space at both ends", "trim", &[TEXT], Kind::Text, |of| {
        made(text(&of[0])?.trim().to_owned())
    }),
    Function::new("`contains(x, part)`: whether the text has this part", "contains", &[TEXT, TEXT], Kind::Bool, |of| {
        Ok(Datum::Bool(text(&of[0])?.contains(text(&of[1])?)))
    }),
    Function::new("`startsWith(x, part)`: whether the text begins so", "startsWith", &[TEXT, TEXT], Kind::Bool, |of| {
        Ok(Datum::Bool(text(&of[0])?.starts_with(text(&of[1])?)))
    }),
    Function::new("`endsWith(x, part)`: whether the text ends so", "endsWith", &[TEXT, TEXT], Kind::Bool, |of| {
        Ok(Datum::Bool(text(&of[0])?.ends_with(text(&of[1])?)))
    }),
    Function::new(
        "`indexOf(x, part)`: the number of characters before the part, or -1",
        "indexOf",
        &[TEXT, TEXT],
        Kind::Int,
        |of| {
            let (whole, part) = (text(&of[0])?, text(&of[1])?);
            let place = whole.find(part).map(|place| whole[..place].chars().count());
            Ok(Datum::Int(place.map_or(-1, |place| place as i64)))
        },
    ),
    Function::new(
        "`replace(x, part, other)`: the text with every `part` replaced",
        "replace",
        &[TEXT, TEXT, TEXT],
        Kind::Text,
        replace,
    ),
    Function::new(
        "`split(x, separator)`: the list of the texts between separators",
        "split",
        &[TEXT, TEXT],
        Kind::List,
        |of| {
            let parts = text(&of[0])?.split(text(&of[1])?);
            Ok(Datum::list(parts.map(|part| Datum::Text(part.to_owned().into())).collect()))
        },
    ),
    Function::new("`join(list, separator)`: the texts of a list as one", "join", &[LIST, TEXT], Kind::Text, |of| {
        let parts = list(&of[0])?.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        made(parts.join(of.get(1).map_or(Ok(""), text)?))
    })
    .needing(1),
    Function::new(
        "`substring(x, start, end)`: the characters from `start` to before `end`, from 0",
        "substring",
        &[TEXT, INT, INT],
        Kind::Text,
        substring,
    )
    .needing(2),
];

fn made<'e>(text: String) -> Result<Datum<'e>, String> {
    Ok(Datum::Text(text.into()))
}

fn size<'e>(of: &[Datum<'e>]) -> Result<Datum<'e>, String> {
    let size = match &of[0] {
        Datum::Text(text) => text.chars().count(),
        Datum::Bytes(bytes) => bytes.len(),
        Datum::List(items) => items.len(),
        Datum::Map(fields) => fields.names().count(),
        other => return Err(format!("{} has no size", other.type_name())),
    };
    Ok(Datum::Int(size as i64))
}

/// A text that grows with each call could fill the memory, so there is a limit.
fn replace<'e>(of: &[Datum<'e>]) -> Result<Datum<'e>, String> {
    const MOST_BYTES: usize = 16 << 20;
    let (whole, part, other) = (text(&of[0])?, text(&of[1])?, text(&of[2])?);
    let found = whole.matches(part).count();
    let bytes = whole.len().saturating_add(found.saturating_mul(other.len()));
    if bytes > MOST_BYTES {
        return Err(format!("the text would have more than {MOST_BYTES} bytes"));
    }
    made(whole.replace(part, other))
}

fn substring<'e>(of: &[Datum<'e>]) -> Result<Datum<'e>, String> {
    let whole = text(&of[0])?;
    let length = whole.chars().count();
    let (start, end) = (place(&of[1], length)?, of.get(2).map_or(Ok(length), |end| place(end, length))?);
    if end < start {
        return Err(format!("{end} is before {start}"));
    }
    made(whole.chars().skip(start).take(end - start).collect())
}
