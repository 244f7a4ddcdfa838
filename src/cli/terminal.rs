//! Lines and JSON that are harmless to a terminal: the output may quote records, which anybody may have written. Pure.

use serde::Serialize;

use super::CommandError;
use crate::text::{escape, is_obeyed};

/// A text of several lines, [`escape`]d but for its line breaks.
pub(super) fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

/// `value` as JSON on one line. Characters that a terminal obeys are written as `\u` escapes, which mean the same.
pub(super) fn json_line(value: &impl Serialize) -> Result<String, CommandError> {
    serde_json::to_string(value).map(with_escapes).map_err(CommandError::failed)
}

/// `value` as JSON on several lines, with the same escapes.
pub(super) fn json(value: &impl Serialize) -> Result<String, CommandError> {
    serde_json::to_string_pretty(value).map(with_escapes).map_err(CommandError::failed)
}

/// JSON has such characters only in its strings, except for line breaks.
fn with_escapes(json: String) -> String {
    if !json.contains(|c| is_obeyed(c) && c != '\n') {
        return json;
    }
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if is_obeyed(c) && c != '\n' {
            let units = &mut [0; 2];
            c.encode_utf16(units).iter().for_each(|unit| shown += &format!("\\u{unit:04x}"));
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_means_the_same_and_holds_nothing_that_a_terminal_obeys() {
        let text = "\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{e0041}é\n";
        for written in [json_line(&[text]), json(&[text])] {
            let Ok(written) = written else { panic!("it is a text") };
            assert!(!written.contains(|c| is_obeyed(c) && c != '\n'), "{written}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&written).expect("it is JSON"), [text.to_owned()]);
        }
    }
}
