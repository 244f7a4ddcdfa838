//! Writes tests: events as the file of tests has them, and the rows that a projection makes of them.

use std::fmt::Write as _;

use readcast_core::{Definition, Envelope, Payload, TableSpec};

use super::{after, given};

/// The first line of a new file of tests.
pub(crate) const HEADING: &str = "# Given these events, then these rows. `readcast test` runs it.\n";

/// What a test says of each event beside its type, key, version, time and data.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Details {
    pub(crate) topic: bool,
    pub(crate) partition: bool,
    pub(crate) id: bool,
    pub(crate) correlation_id: bool,
    pub(crate) headers: bool,
}

/// An event of a test. `dead_letter` is the reason for which it is one.
pub(crate) fn given_event(event: &Envelope<'_>, with: Details, dead_letter: Option<&str>) -> String {
    let Envelope { position, event_type, version, timestamp, payload, .. } = event;
    let mut text = format!("[[test.given]]\nevent = {}\n", quoted(event_type));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name} = {value}");
    };
    if with.topic {
        line("topic", quoted(&position.topic));
    }
    let key = event.key.and_then(|key| std::str::from_utf8(key).ok());
    if let Some(key) = key {
        line("key", quoted(key));
    }
    // Without a key, an event of a test is in partition 0 unless it names another.
    if with.partition || key.is_none() && position.partition != 0 {
        line("partition", position.partition.to_string());
    }
    if *version != 1 {
        line("version", version.to_string());
    }
    if with.id {
        line("id", quoted(&event.event_id));
    }
    line("at", format!("\"{timestamp}\""));
    if let (Some(id), true) = (&event.correlation_id, with.correlation_id) {
        line("correlation_id", quoted(id));
    }
    if with.headers {
        headers(event).iter().for_each(|(name, value)| line(&format!("headers.{}", escaped(name)), quoted(value)));
    }
    if !matches!(payload, Payload::Empty) {
        line("json", quoted(&payload.to_string()));
    }
    if let Some(reason) = dead_letter {
        line("dead_letter", quoted(reason));
    }
    text.push('\n');
    text
}

/// The headers that are texts, each once: of several with one name, the last one counts.
fn headers<'e>(event: &Envelope<'e>) -> Vec<(&'e str, &'e str)> {
    let last = |(place, (name, _)): &(usize, &(String, _))| !event.headers[place + 1..].iter().any(|(n, _)| n == name);
    let last = event.headers.iter().enumerate().filter(last);
    last.filter_map(|(_, (name, value))| Some((name.as_str(), std::str::from_utf8(value.as_deref()?).ok()?))).collect()
}

/// The rows of a test, and what is left out of them.
pub(crate) struct Then {
    pub(crate) text: String,
    /// Columns that a test can't show, such as `orders.note`.
    pub(crate) left_out: Vec<String>,
}

/// The rows that the projection makes of the events in `given`, which [`given_event`] has written.
pub(crate) fn then(definition: &Definition, given: &str) -> Result<Then, String> {
    let tables = after(definition, &self::given(given)?)?;
    let mut then = Then { text: "[test.then]\n".to_owned(), left_out: Vec::new() };
    for table in definition.tables().iter().map(TableSpec::name) {
        let (rows, left_out) = tables.rows(table)?;
        if !rows.trim().is_empty() {
            let _ = writeln!(then.text, "{table} = {}", block(&rows));
        }
        then.left_out.extend(left_out.into_iter().map(|column| format!("{table}.{column}")));
    }
    Ok(then)
}

/// The text as a string of TOML: in quotes that it does not hold, else with escapes.
pub(crate) fn quoted(text: &str) -> String {
    if !text.contains(['"', '\\']) || text.contains(is_control) {
        escaped(text)
    } else if !text.contains(['\'', '\n']) {
        format!("'{text}'")
    } else if can_be_literal(text) {
        format!("'''{text}'''")
    } else {
        escaped(text)
    }
}

/// Lines as a string of TOML.
fn block(lines: &str) -> String {
    if can_be_literal(lines) {
        return format!("'''\n{lines}'''");
    }
    let lines: String = lines.lines().map(|line| with_escapes(line) + "\n").collect();
    format!("\"\"\"\n{lines}\"\"\"")
}

/// Whether the text can stand between `'''`.
fn can_be_literal(text: &str) -> bool {
    !text.contains("'''") && !text.ends_with('\'') && !text.starts_with('\n') && !text.contains(is_control)
}

/// Whether a character must be escaped wherever it stands.
fn is_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n')
}

fn escaped(text: &str) -> String {
    format!("\"{}\"", with_escapes(text))
}

fn with_escapes(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => written.extend(['\\', c]),
            '\n' => written.push_str("\\n"),
            '\t' => written.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(written, "\\u{:04X}", u32::from(c));
            }
            c => written.push(c),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toml::de::DeTable;

    use super::*;

    fn read(written: &str) -> String {
        let text = format!("a = {written}");
        let parsed = DeTable::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        parsed.get_ref().get("a").and_then(|item| item.get_ref().as_str()).expect("a text").to_owned()
    }

    #[test]
    fn a_text_is_written_in_quotes_that_it_does_not_hold() {
        assert_eq!(quoted("it's"), "\"it's\"");
        assert_eq!(quoted(r#"{"a":1}"#), r#"'{"a":1}'"#);
        assert_eq!(quoted(r#"{"a":"it's"}"#), r#"'''{"a":"it's"}'''"#);
        assert_eq!(quoted("\"\u{7f}'''\r"), r#""\"\u007F'''\u000D""#);
    }

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was_written(text in "[a'\"\\\\\n\r\t\u{0}\u{7f}\u{85}é ]{0,12}") {
            prop_assert_eq!(read(&quoted(&text)), text.clone());
            prop_assert_eq!(read(&escaped(&text)), text.clone());
            let lines = format!("{}\n", text.replace('\r', ""));
            prop_assert_eq!(read(&block(&lines)), lines);
        }
    }
}
