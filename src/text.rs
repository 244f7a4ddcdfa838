//! Text for people: counts with their nouns, and text of records, which anybody may have written, made harmless. Pure.

/// A count with its noun, such as `1 key` and `1,190 records`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// The digits in groups of three, such as `20,000`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// `text` with every character spelled out that a terminal would obey instead of showing it: control characters, and with
/// them the beginning of every escape sequence; characters that change the direction of writing or have no width.
pub(crate) fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// The beginning of `bytes` as [`escape`]d text: at most `most` characters, counted before they are spelled out.
pub(crate) fn glimpse(bytes: &[u8], most: usize) -> String {
    // No character takes more than four bytes.
    let beginning = String::from_utf8_lossy(bytes.get(..4 * (most + 1)).unwrap_or(bytes));
    match beginning.char_indices().nth(most) {
        Some((end, _)) => escape(&beginning[..end]) + "…",
        None => escape(&beginning),
    }
}

/// Whether a terminal obeys this character instead of showing it.
pub(crate) fn is_obeyed(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    let has_no_width = matches!(c, '\u{ad}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || directs || has_no_width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_agrees_with_its_noun() {
        let texts = [0, 1, 2, 999, 1_000, 20_003, 1_234_567].map(|count| counted(count, "record"));
        let expected = [
            "0 records",
            "1 record",
            "2 records",
            "999 records",
            "1,000 records",
            "20,003 records",
            "1,234,567 records",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn fault_36_what_a_terminal_would_obey_is_spelled_out() {
        assert_eq!(escape("a\u{1b}[31mred\n\u{9b}2J\u{202e}txt"), "a\\u{1b}[31mred\\n\\u{9b}2J\\u{202e}txt");
        assert_eq!(escape("<script>é €\"\\"), "<script>é €\"\\");
    }

    #[test]
    fn a_glimpse_is_short_and_says_so() {
        assert_eq!(glimpse(b"ord_1", 5), "ord_1");
        assert_eq!(glimpse("örd_12".as_bytes(), 5), "örd_1…");
        assert_eq!(glimpse(b"\xff\x00", 5), "\u{fffd}\\u{0}");
        assert_eq!(glimpse(&[b'x'; 1000], 3), "xxx…");
    }
}
