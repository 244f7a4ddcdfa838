//! Where the parts of an event stand in a record.

use std::str::FromStr;

/// Where a text stands in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locator {
    /// `header:NAME`: in the header of this name.
    Header(String),
    /// `body:POINTER`: at this JSON Pointer (RFC 6901) in the value.
    Body(String),
    /// `attribute:NAME`: in the attribute of this name, in formats whose events have attributes.
    Attribute(String),
    /// `key`: in the key.
    Key,
    /// `topic`: the name of the topic.
    Topic,
    /// `position`: the place of the record in the log, `topic/partition@offset`.
    Position,
    /// `const:TEXT`: the same for all records.
    Const(String),
}

/// Where the time of an event stands, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeLocator {
    /// Its place. `None` for the time at which the record was written.
    pub at: Option<Locator>,
    /// How it is written.
    pub form: TimeForm,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// As RFC 3339.
    Rfc3339,
    /// As a number of units since 1970-01-01T00:00:00Z, of which there are so many in a second.
    Epoch {
        /// How many units a second has.
        per_second: u32,
    },
}

/// The text is no place.
#[derive(Debug, PartialEq, Eq)]
pub struct NoLocator;

/// The units in which times since 1970 are counted: the word, and how many are in a second.
const UNITS: [(&str, u32); 4] = [("seconds", 1), ("millis", 1_000), ("micros", 1_000_000), ("nanos", 1_000_000_000)];

impl FromStr for Locator {
    type Err = NoLocator;

    fn from_str(text: &str) -> Result<Self, NoLocator> {
        match text.split_once(':') {
            None => match text {
                "key" => Ok(Self::Key),
                "topic" => Ok(Self::Topic),
                "position" => Ok(Self::Position),
                _ => Err(NoLocator),
            },
            Some(("body", pointer)) if is_pointer(pointer) => Ok(Self::Body(pointer.to_owned())),
            Some((_, "")) => Err(NoLocator),
            Some(("header", name)) => Ok(Self::Header(name.to_owned())),
            Some(("attribute", name)) => Ok(Self::Attribute(name.to_owned())),
            Some(("const", constant)) => Ok(Self::Const(constant.to_owned())),
            Some(_) => Err(NoLocator),
        }
    }
}

/// As it is configured.
impl std::fmt::Display for Locator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Body(pointer) => write!(f, "body:{pointer}"),
            Self::Attribute(name) => write!(f, "attribute:{name}"),
            Self::Key => f.write_str("key"),
            Self::Topic => f.write_str("topic"),
            Self::Position => f.write_str("position"),
            Self::Const(constant) => write!(f, "const:{constant}"),
        }
    }
}

impl FromStr for TimeLocator {
    type Err = NoLocator;

    fn from_str(text: &str) -> Result<Self, NoLocator> {
        if text == "record" {
            return Ok(Self { at: None, form: TimeForm::Rfc3339 });
        }
        let (place, form) = match text.rsplit_once(" as ") {
            None => (text, TimeForm::Rfc3339),
            Some((place, unit)) => {
                let found = UNITS.iter().find(|(word, _)| *word == unit.trim()).ok_or(NoLocator)?;
                (place.trim_end(), TimeForm::Epoch { per_second: found.1 })
            }
        };
        Ok(Self { at: Some(place.parse()?), form })
    }
}

/// A JSON Pointer in a `body:` place. The empty one is the whole value.
pub(super) fn body_pointer(text: &str) -> Option<String> {
    text.strip_prefix("body:").filter(|pointer| is_pointer(pointer)).map(str::to_owned)
}

fn is_pointer(text: &str) -> bool {
    let tilde_is_escape = |(place, _): (usize, &str)| text[place + 1..].starts_with(['0', '1']);
    (text.is_empty() || text.starts_with('/')) && text.match_indices('~').all(tilde_is_escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_shown_as_it_is_written() {
        for text in
            ["header:event type", "body:", "body:/a/~0b/1", "attribute:source", "key", "topic", "position", "const:a:b"]
        {
            assert_eq!(text.parse::<Locator>().map(|place| place.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "header:", "header", "body", "body:a", "body:/a~", "body:/~2", "const:", "Key", "value:/a"] {
            assert_eq!(text.parse::<Locator>(), Err(NoLocator), "{text}");
        }
    }

    #[test]
    fn a_time_has_a_place_and_a_unit() {
        let time = |text: &str| text.parse::<TimeLocator>();
        let header = Some(Locator::Header("at".into()));
        assert_eq!(time("record"), Ok(TimeLocator { at: None, form: TimeForm::Rfc3339 }));
        assert_eq!(time("header:at"), Ok(TimeLocator { at: header.clone(), form: TimeForm::Rfc3339 }));
        let form = TimeForm::Epoch { per_second: 1_000 };
        assert_eq!(time("header:at as millis"), Ok(TimeLocator { at: header, form }));
        assert_eq!(time("header:at as hours"), Err(NoLocator));
    }
}
