//! The form of a line: key, tab and value, or only a value.
//!
//! The first line that fits only one form decides the form of the file. The decision depends only on the lines up to
//! that one. Thus it stays the same as the file grows, and a record has the same meaning after a restart and in a
//! rebuild. Lines before the decision, and lines that fit only the other form, are interpreted one by one, as version
//! 0.1.0 did for all.

use std::fmt;

use bytes::Bytes;
use serde::de::IgnoredAny;

/// The form of a file's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// Every line so far fits both forms or neither.
    #[default]
    Undecided,
    /// Lines as `kcat -K '\t'` writes them. Without a key, the line begins with the tab.
    KeyTabValue,
    /// Each line is a JSON object.
    ValueAlone,
}

/// The parts of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) key: Option<Bytes>,
    pub(super) value: Bytes,
    /// What is unusual about the line. It may explain why the value is not an event.
    pub(super) remark: Option<&'static str>,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Form {
    /// The form after `line`, the next line of the file.
    pub(super) fn after(self, line: &[u8]) -> Self {
        if self == Self::Undecided { form_of(line) } else { self }
    }

    /// The parts of `line` in a file of this form.
    pub(super) fn split(self, line: Bytes) -> Parts {
        let tab = match self {
            _ if !line.starts_with(b"{") => tab_from(&line, 0),
            Self::KeyTabValue => tab_after_key(&line),
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
            return Some("the line begins with a byte order mark, which happens when files are concatenated");
        }
        match (self, has_key) {
            (Self::KeyTabValue, true) => None,
            (Self::KeyTabValue, false) => {
                Some("the file's lines are key, tab, value, but this line has no tab after a key")
            }
            (Self::ValueAlone, true) => Some("the file's lines are values without keys, but this line has a tab"),
            (Self::ValueAlone, false) if line.contains(&b'\t') => {
                Some("the file's lines are values without keys, but this line has a tab")
            }
            (Self::ValueAlone, false) => None,
            (Self::Undecided, _) => Some("the file's first lines do not show whether its lines have keys"),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Undecided => "undecided by the lines so far",
            Self::KeyTabValue => "key, tab, value",
            Self::ValueAlone => "value without key",
        })
    }
}

/// `line`, the first of its file, without the byte order mark that some editors write.
pub(super) fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

/// The encoding of a file that begins with `beginning`, if it is not UTF-8.
pub(super) fn foreign_encoding(beginning: &[u8]) -> Option<&'static str> {
    match beginning {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// The only form that this line fits. `Undecided` for an empty line and for a line that is not an event in either form.
fn form_of(line: &[u8]) -> Form {
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
            // A tab at the end may precede the empty value of a tombstone.
            if line[end..].contains(&b'\t') { Form::Undecided } else { Form::ValueAlone }
        }
        Some(end) if tab_from(line, end).is_some() => Form::KeyTabValue,
        None if key_by_its_value() => Form::KeyTabValue,
        _ => Form::Undecided,
    }
}

/// The tab between key and value of a line that begins with a brace. A JSON key may contain tabs; if no tab follows it,
/// the object is the value. A key that begins with a brace but is not JSON is recognized only if an event follows the
/// tab.
fn tab_after_key(line: &[u8]) -> Option<usize> {
    let first = tab_from(line, 0)?;
    match object_end(line) {
        Some(end) => tab_from(line, end),
        None => Some(first).filter(|tab| is_object(&line[tab + 1..])),
    }
}

fn tab_from(line: &[u8], start: usize) -> Option<usize> {
    line[start..].iter().position(|&byte| byte == b'\t').map(|tab| start + tab)
}

/// The end of the JSON value at the beginning of `line`.
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
    fn the_first_line_that_fits_one_form_decides() {
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
    fn a_json_key_ends_with_its_object() {
        let row = |key: &str, value: &str| (Some(key.to_owned()), value.to_owned(), false);
        assert_eq!(parts(KeyTabValue, "{\"k\":1}\t{\"a\":1}"), row("{\"k\":1}", "{\"a\":1}"));
        assert_eq!(parts(KeyTabValue, "{\"k\":\t1}\t{\"a\":\t1}"), row("{\"k\":\t1}", "{\"a\":\t1}"));
        assert_eq!(parts(KeyTabValue, "{\"k\":1} \t{}"), row("{\"k\":1} ", "{}"));
        assert_eq!(parts(KeyTabValue, "{\"k\":1}\t"), row("{\"k\":1}", ""));
        assert_eq!(parts(KeyTabValue, "{6F9619FF}\t{}"), row("{6F9619FF}", "{}"));
        assert_eq!(parts(KeyTabValue, "\"a\\tb\"\t{}"), row("\"a\\tb\"", "{}"));
    }

    #[test]
    fn a_line_of_the_other_form_has_a_remark() {
        for line in ["neither", "{\"a\":1}", "{\"a\":\t1}", ""] {
            assert_eq!(parts(KeyTabValue, line), (None, line.to_owned(), true), "{line}");
        }
        assert_eq!(parts(ValueAlone, "{\"k\":1}\t{}"), (None, "{\"k\":1}\t{}".to_owned(), true));
        assert_eq!(parts(ValueAlone, "k\t{}"), (Some("k".to_owned()), "{}".to_owned(), true));
        assert_eq!(parts(ValueAlone, "{\"a\":1}"), (None, "{\"a\":1}".to_owned(), false));
        assert!(parts(KeyTabValue, "\u{feff}k\t{}").2 && parts(ValueAlone, "\u{feff}{}").2);
    }

    /// The interpretation of version 0.1.0.
    fn as_version_0_1_0(line: &str) -> (Option<&str>, &str) {
        match line.split_once('\t').filter(|_| !line.starts_with('{')) {
            Some((key, value)) => (Some(key).filter(|key| !key.is_empty()), value),
            None => (None, line),
        }
    }

    #[test]
    fn an_event_of_either_form_keeps_the_key_and_value_of_version_0_1_0() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let pieces = ["{", "}", "\t", "\"", ":", "1", " ", "k", "{}", "{\"a\":1}", "\\", ",", "\"k\":"];
        for _ in 0..50_000 {
            let line: String = (0..random.usize(0..9)).map(|_| pieces[random.usize(0..pieces.len())]).collect();
            let (key, value) = as_version_0_1_0(&line);
            // Version 0.1.0 ignored a tab at the end of a line that begins with an object. Now this tab follows a key.
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
