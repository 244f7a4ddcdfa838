//! Functions of texts.

use super::{ANY, Function, INT, LIST, TEXT, int, list, place, text};
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
        "`indexOf(x, part, start)`: the number of characters before the first part that begins at `start` or later, or -1",
        "indexOf",
        &[TEXT, TEXT, INT],
        Kind::Int,
        index_of,
    )
    .needing(2),
    Function::new(
        "`lastIndexOf(x, part, start)`: the number of characters before the last part that begins at `start` or earlier, or -1",
        "lastIndexOf",
        &[TEXT, TEXT, INT],
        Kind::Int,
        last_index_of,
    )
    .needing(2),
    Function::new(
        "`charAt(x, place)`: the character at a place from 0; empty at the end of the text",
        "charAt",
        &[TEXT, INT],
        Kind::Text,
        |of| {
            let rest = &text(&of[0])?[bytes_before(text(&of[0])?, &of[1])?..];
            made(rest.chars().take(1).collect())
        },
    ),
    Function::new(
        "`replace(x, part, other, limit)`: the text with every `part` replaced, or the first `limit` of them",
        "replace",
        &[TEXT, TEXT, TEXT, INT],
        Kind::Text,
        replace,
    )
    .needing(3),
    Function::new(
        "`split(x, separator, limit)`: the list of the texts between separators; the last of `limit` texts is the whole rest",
        "split",
        &[TEXT, TEXT, INT],
        Kind::List,
        split,
    )
    .needing(2),
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

/// The number of bytes before the character at a place.
fn bytes_before(whole: &str, characters: &Datum<'_>) -> Result<usize, String> {
    let characters = place(characters, whole.chars().count())?;
    Ok(whole.char_indices().nth(characters).map_or(whole.len(), |(bytes, _)| bytes))
}

/// The number of characters before a number of bytes, or -1.
fn characters_before<'e>(whole: &str, bytes: Option<usize>) -> Datum<'e> {
    Datum::Int(bytes.map_or(-1, |bytes| whole[..bytes].chars().count() as i64))
}

fn index_of<'e>(of: &[Datum<'e>]) -> Result<Datum<'e>, String> {
    let (whole, part) = (text(&of[0])?, text(&of[1])?);
    let start = of.get(2).map_or(Ok(0), |start| bytes_before(whole, start))?;
    Ok(characters_before(whole, whole[start..].find(part).map(|bytes| start + bytes)))
}

fn last_index_of<'e>(of: &[Datum<'e>]) -> Result<Datum<'e>, String> {
    let (whole, part) = (text(&of[0])?, text(&of[1])?);
    let start = of.get(2).map_or(Ok(whole.len()), |start| bytes_before(whole, start))?;
    // A part that begins at the start ends at a character's boundary, so what is cut off to get to one can't belong to it.
    let end = whole.floor_char_boundary(start.saturating_add(part.len()));
    Ok(characters_before(whole, whole[..end].rfind(part)))
}

/// The number in the argument that bounds how often something is done, of which a negative one is no bound.
fn limit(value: Option<&Datum<'_>>) -> Result<usize, String> {
    Ok(value.map_or(Ok(-1), int)?.try_into().unwrap_or(usize::MAX))
}

fn split<'e>(of: &[Datum<'e>]) -> Result<Datum<'e>, String> {
    let (whole, separator, limit) = (text(&of[0])?, text(&of[1])?, limit(of.get(2))?);
    let parts: Vec<&str> = if separator.is_empty() {
        // Each character. An empty separator is found before the first and behind the last one, too.
        whole.splitn(limit.saturating_add(1), separator).skip(1).filter(|part| !part.is_empty()).collect()
    } else {
        whole.splitn(limit, separator).collect()
    };
    Ok(Datum::list(parts.into_iter().map(|part| Datum::Text(part.to_owned().into())).collect()))
}

/// A text that grows with each call could fill the memory, so there is a limit.
fn replace<'e>(of: &[Datum<'e>]) -> Result<Datum<'e>, String> {
    const MOST_BYTES: usize = 16 << 20;
    let (whole, part, other, limit) = (text(&of[0])?, text(&of[1])?, text(&of[2])?, limit(of.get(3))?);
    let found = whole.matches(part).take(limit).count();
    let bytes = whole.len().saturating_add(found.saturating_mul(other.len()));
    if bytes > MOST_BYTES {
        return Err(format!("the text would have more than {MOST_BYTES} bytes"));
    }
    made(whole.replacen(part, other, limit))
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
