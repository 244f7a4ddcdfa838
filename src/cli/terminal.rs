//! Text of records, which anybody may have written, made harmless to whoever looks at it. Pure.

use serde::Serialize;

use super::Refusal;

/// `text` with all that a terminal would obey, instead of showing it, spelled out: control characters, with them the
/// beginning of every escape sequence, and what turns the direction of writing or has no width.
pub(super) fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// The same of a text of several lines, which stay lines.
pub(super) fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

/// The beginning of `bytes` as text, harmless, of at most `most` characters before they are spelled out.
pub(super) fn glimpse(bytes: &[u8], most: usize) -> String {
    // No character takes more bytes than four.
    let beginning = String::from_utf8_lossy(bytes.get(..4 * (most + 1)).unwrap_or(bytes));
    match beginning.char_indices().nth(most) {
        Some((end, _)) => escape(&beginning[..end]) + "…",
        None => escape(&beginning),
    }
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

fn is_obeyed(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    let has_no_width = matches!(c, '\u{ad}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || directs || has_no_width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_for_terminals() {
        assert_eq!(escape("a\u{1b}[31mred\n\u{9b}2J\u{202e}txt"), "a\\u{1b}[31mred\\n\\u{9b}2J\\u{202e}txt");
        assert_eq!(escape("<script>é €\"\\"), "<script>é €\"\\");
    }

    #[test]
    fn escaped_json_has_the_same_meaning_and_no_control_characters() {
        let text = "\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{e0041}é\n";
        for written in [json_line(&[text]), json(&[text])] {
            let Ok(written) = written else { panic!("it is a text") };
            assert!(!written.contains(|c| is_obeyed(c) && c != '\n'), "{written}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&written).expect("it is JSON"), [text.to_owned()]);
        }
    }

    #[test]
    fn a_glimpse_is_short_and_says_so() {
        assert_eq!(glimpse(b"ord_1", 5), "ord_1");
        assert_eq!(glimpse("örd_12".as_bytes(), 5), "örd_1…");
        assert_eq!(glimpse(b"\xff\x00", 5), "\u{fffd}\\u{0}");
        assert_eq!(glimpse(&[b'x'; 1000], 3), "xxx…");
    }
}
