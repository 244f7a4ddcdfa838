//! Text of records, which anybody may have written, made harmless to whoever looks at it. Pure.

use serde::Serialize;

use super::Refusal;
use crate::text::is_obeyed;
pub(super) use crate::text::{escape, glimpse};

/// [`escape`]s each line of `text`.
pub(super) fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

/// `value` as JSON on one line. It means what it always does; what a terminal would obey stands in it by its number.
pub(super) fn json_line(value: &impl Serialize) -> Result<String, Refusal> {
    serde_json::to_string(value).map(by_number).map_err(Refusal::failed)
}

/// The same on several lines.
pub(super) fn json(value: &impl Serialize) -> Result<String, Refusal> {
    serde_json::to_string_pretty(value).map(by_number).map_err(Refusal::failed)
}

/// JSON has such characters in its texts alone, save for the ends of lines.
fn by_number(json: String) -> String {
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
    fn escaped_json_has_the_same_meaning_and_no_control_characters() {
        let text = "\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{e0041}é\n";
        for written in [json_line(&[text]), json(&[text])] {
            let Ok(written) = written else { panic!("it is a text") };
            assert!(!written.contains(|c| is_obeyed(c) && c != '\n'), "{written}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&written).expect("it is JSON"), [text.to_owned()]);
        }
    }
}
