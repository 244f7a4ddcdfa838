//! What a line is: key, tab and value, or a value alone.
//!
//! That is decided once for a file, by the first of its lines that can be only one of the two. It depends on the lines up to
//! there alone, so it stays as the file grows, and a record means the same after a restart and in a rebuild. Up to that
//! line, and where a line of the other form can be nothing else, lines are read one by one, as version 0.1.0 read all.

use std::fmt;

use bytes::Bytes;
use serde::de::IgnoredAny;

/// The form of a file's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// No line so far can be only one of the two.
    #[default]
    Undecided,
    /// As `kcat -K '\t'` writes them, with nothing before the tab where there is no key.
    KeyTabValue,
    /// JSON objects.
    ValueAlone,
}

/// A line, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) key: Option<Bytes>,
    pub(super) value: Bytes,
    /// What is odd about the line: it may be why the value is no event.
    pub(super) remark: Option<&'static str>,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Form {
    /// The form after `line`, the next one of the file.
    pub(super) fn after(self, line: &[u8]) -> Self {
        if self == Self::Undecided { told_by(line) } else { self }
    }

    /// What `line` holds in a file of this form.
    pub(super) fn split(self, line: Bytes) -> Parts {
        let tab = match self {
            _ if !line.starts_with(b"{") => tab_from(&line, 0),
            Self::KeyTabValue => tab_behind_key(&line),
            Self::ValueAlone | Self::Undecided => None,
        };
        let remark = self.remark(&line, tab.is_some());
        match tab {
            Some(tab) => {
                let key = Some(line.slice(..tab)).filter(|key| !key.is_empty());
                Parts { key, value: line.slice(tab + 1..), remark }
            }
            None => Parts { key: None, value: line, remark },
        }
    }

    fn remark(self, line: &[u8], has_key: bool) -> Option<&'static str> {
        if line.is_empty() {
            return Some("the line is empty");
        }
        if line.starts_with(BYTE_ORDER_MARK) {
            return Some("the line begins with a byte order mark, as where files were joined");
        }
        match (self, has_key) {
            (Self::KeyTabValue, true) => None,
            (Self::KeyTabValue, false) => {
                Some("the file's lines are key, tab, value, and this one has no tab behind a key")
            }
            (Self::ValueAlone, true) => Some("the file's lines are values alone, and this one has a tab"),
            (Self::ValueAlone, false) if line.contains(&b'\t') => {
                Some("the file's lines are values alone, and this one has a tab")
            }
            (Self::ValueAlone, false) => None,
            (Self::Undecided, _) => {
                Some("the file's first lines do not tell whether its lines are key, tab, value or values alone")
            }
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Undecided => "not told by its lines so far",
            Self::KeyTabValue => "key, tab, value",
            Self::ValueAlone => "value alone",
        })
    }
}

/// `line`, the first of its file, without the byte order mark that editors put there.
pub(super) fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

/// What a file that begins with `beginning` is written in, if that is not UTF-8.
pub(super) fn foreign_encoding(beginning: &[u8]) -> Option<&'static str> {
    match beginning {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// The one form that a file with this line can have. Neither an empty line nor one that is no event in either form says so.
fn told_by(line: &[u8]) -> Form {
    let key_by_its_value = || tab_from(line, 0).is_some_and(|tab| is_object(&line[tab + 1..]));
    if !line.starts_with(b"{") {
        return match () {
            () if key_by_its_value() => Form::KeyTabValue,
            () if !line.contains(&b'\t') && is_object(line) => Form::ValueAlone,
            () => Form::Undecided,
        };
    }
    match object_end(line) {
        Some(end) if line[end..].trim_ascii().is_empty() => {
            // A tab at the end may be the one before the empty value of a tombstone.
            if line[end..].contains(&b'\t') { Form::Undecided } else { Form::ValueAlone }
        }
        Some(end) if tab_from(line, end).is_some() => Form::KeyTabValue,
        None if key_by_its_value() => Form::KeyTabValue,
        _ => Form::Undecided,
    }
}

/// The tab between the key and the value of a line that begins with a brace. A key of JSON may hold tabs of its own; without
/// a tab behind it, the object is the value. A brace may also begin a key that is no JSON, but not where no event follows.
fn tab_behind_key(line: &[u8]) -> Option<usize> {
    let first = tab_from(line, 0)?;
    match object_end(line) {
        Some(end) => tab_from(line, end),
        None => Some(first).filter(|tab| is_object(&line[tab + 1..])),
    }
}

fn tab_from(line: &[u8], start: usize) -> Option<usize> {
    line[start..].iter().position(|&byte| byte == b'\t').map(|tab| start + tab)
}

/// Where the JSON value ends with which `line` begins.
fn object_end(line: &[u8]) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_slice(line).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Form::{KeyTabValue, Undecided, ValueAlone};

    fn parts(form: Form, line: &str) -> (Option<String>, String, bool) {
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let Parts { key, value, remark } = form.split(Bytes::copy_from_slice(line.as_bytes()));
        (key.map(text), text(value), remark.is_some())
    }

    #[test]
    fn a_form_is_told_by_the_first_line_that_can_have_no_other() {
        let lines = [
            ("{\"a\":1}", ValueAlone),
            (" {\"a\":1} ", ValueAlone),
            ("{\"a\":\t1}", ValueAlone),
            ("{\"a\":\"\\t\"}", ValueAlone),
            ("k\t{\"a\":1}", KeyTabValue),
            ("\t{\"a\":1}", KeyTabValue),
            ("{\"k\":1}\t{\"a\":1}", KeyTabValue),
            ("{\"k\":{\"n\":\t\"}\"}}\t{\"a\":1}", KeyTabValue),
            ("{\"k\":1}\tnothing", KeyTabValue),
            ("{6F9619FF-8B86}\t{\"a\":1}", KeyTabValue),
            ("\"k\"\t{\"a\":1}", KeyTabValue),
            ("17\t{\"a\":\t1}", KeyTabValue),
            ("null\t{}", KeyTabValue),
            ("[1,2]\t{}", KeyTabValue),
            ("", Undecided),
            (" \t ", Undecided),
            ("neither", Undecided),
            ("k\t", Undecided),
            ("{\"a\":1}\t", Undecided),
            ("{\"torn\":", Undecided),
            ("{\"torn\":\t1", Undecided),
            ("17", Undecided),
        ];
        for (line, form) in lines {
            assert_eq!(Undecided.after(line.as_bytes()), form, "{line}");
            assert_eq!(ValueAlone.after(line.as_bytes()), ValueAlone, "{line}");
            assert_eq!(KeyTabValue.after(line.as_bytes()), KeyTabValue, "{line}");
        }
    }

    #[test]
    fn a_key_of_json_ends_where_its_object_does() {
        let row = |key: &str, value: &str| (Some(key.to_owned()), value.to_owned(), false);
        assert_eq!(parts(KeyTabValue, "{\"k\":1}\t{\"a\":1}"), row("{\"k\":1}", "{\"a\":1}"));
        assert_eq!(parts(KeyTabValue, "{\"k\":\t1}\t{\"a\":\t1}"), row("{\"k\":\t1}", "{\"a\":\t1}"));
        assert_eq!(parts(KeyTabValue, "{\"k\":1} \t{}"), row("{\"k\":1} ", "{}"));
        assert_eq!(parts(KeyTabValue, "{\"k\":1}\t"), row("{\"k\":1}", ""));
        assert_eq!(parts(KeyTabValue, "{6F9619FF}\t{}"), row("{6F9619FF}", "{}"));
        assert_eq!(parts(KeyTabValue, "\"a\\tb\"\t{}"), row("\"a\\tb\"", "{}"));
    }

    #[test]
    fn a_line_of_the_other_form_is_remarked_on() {
        for line in ["neither", "{\"a\":1}", "{\"a\":\t1}", ""] {
            assert_eq!(parts(KeyTabValue, line), (None, line.to_owned(), true), "{line}");
        }
        assert_eq!(parts(ValueAlone, "{\"k\":1}\t{}"), (None, "{\"k\":1}\t{}".to_owned(), true));
        assert_eq!(parts(ValueAlone, "k\t{}"), (Some("k".to_owned()), "{}".to_owned(), true));
        assert_eq!(parts(ValueAlone, "{\"a\":1}"), (None, "{\"a\":1}".to_owned(), false));
        assert!(parts(KeyTabValue, "\u{feff}k\t{}").2 && parts(ValueAlone, "\u{feff}{}").2);
    }

    /// What version 0.1.0 did with every line.
    fn as_before(line: &str) -> (Option<&str>, &str) {
        match line.split_once('\t').filter(|_| !line.starts_with('{')) {
            Some((key, value)) => (Some(key).filter(|key| !key.is_empty()), value),
            None => (None, line),
        }
    }

    #[test]
    fn what_was_an_event_in_any_form_has_the_key_and_value_that_it_had() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let pieces = ["{", "}", "\t", "\"", ":", "1", " ", "k", "{}", "{\"a\":1}", "\\", ",", "\"k\":"];
        for _ in 0..50_000 {
            let line: String = (0..random.usize(0..9)).map(|_| pieces[random.usize(0..pieces.len())]).collect();
            let (key, value) = as_before(&line);
            // A tab at the end of a line that begins with an object was passed over, and is the one behind a key now.
            if !is_object(value.as_bytes())
                || (line.starts_with('{') && line.trim_ascii_end().len() < line.trim_end_matches([' ']).len())
            {
                continue;
            }
            for form in [Undecided, ValueAlone, KeyTabValue] {
                let (now_key, now_value, _) = parts(form, &line);
                assert_eq!((now_key.as_deref(), &*now_value), (key, value), "{form:?} {line:?}, seed {seed}");
            }
        }
    }
}
