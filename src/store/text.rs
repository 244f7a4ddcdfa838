//! Texts that readcast itself stores: reasons, errors, outcomes, names of operators. They may quote any input, and the
//! database must be able to hold them.

use std::borrow::Cow;

/// The maximum size of a stored text, in bytes.
const MOST_BYTES: usize = 8 * 1024;
/// The end of a text that was cut.
const CUT: &str = " … (cut)";

/// The characters that the texts of a database may contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// All characters except U+0000.
    #[default]
    Utf8,
    /// ASCII. Only the server knows which other characters it has.
    Other,
}

impl Encoding {
    /// The encoding with the Postgres name `name`.
    pub(crate) fn named(name: &str) -> Self {
        if name.eq_ignore_ascii_case("UTF8") { Self::Utf8 } else { Self::Other }
    }

    /// `text` in a form that can be stored: characters that the encoding may lack are written as `\u{4e8c}`, and a text
    /// that is too long is cut.
    pub(crate) fn fit(self, text: &str) -> Cow<'_, str> {
        let escaped = self.escape(text);
        if escaped.len() <= MOST_BYTES {
            return escaped;
        }
        // The cut is neither within a character nor within an escape.
        let mut short = String::with_capacity(MOST_BYTES);
        for piece in text.chars().map(|c| self.piece(c)) {
            if short.len() + piece.len() + CUT.len() > MOST_BYTES {
                break;
            }
            short += &piece;
        }
        let cut = self.escape(CUT).into_owned();
        Cow::Owned(short + &cut)
    }

    /// JSON in a form that can be stored. [`from_stored_json`] reads it. Outside of its texts JSON is ASCII.
    pub(crate) fn fit_json(self, json: &str) -> String {
        let mut fit = String::with_capacity(json.len());
        let mut rest = json;
        while let Some(c) = rest.chars().next() {
            if rest.starts_with(r"\\") {
                // A backslash. A backslash before `u{` would be read as the beginning of such an escape.
                fit += if rest[2..].starts_with("u{") { r"\\u{5c}" } else { r"\\" };
                rest = &rest[2..];
                continue;
            }
            if let Some(behind) = rest.strip_prefix(r"\u0000") {
                fit += r"\\u{0}";
                rest = behind;
                continue;
            }
            if self.holds(c) {
                fit.push(c);
            } else {
                // The escape is text within the JSON text: jsonb refuses JSON's own escapes of characters that the
                // database lacks.
                fit += &format!(r"\\u{{{:x}}}", u32::from(c));
            }
            rest = &rest[c.len_utf8()..];
        }
        fit
    }

    fn escape(self, text: &str) -> Cow<'_, str> {
        if text.chars().all(|c| self.holds(c)) {
            return Cow::Borrowed(text);
        }
        Cow::Owned(text.chars().map(|c| self.piece(c)).collect())
    }

    fn piece(self, c: char) -> String {
        match (c, self) {
            (c, _) if self.holds(c) => c.to_string(),
            ('\0', Self::Utf8) => char::REPLACEMENT_CHARACTER.to_string(),
            _ => c.escape_unicode().to_string(),
        }
    }

    fn holds(self, c: char) -> bool {
        c != '\0' && (c.is_ascii() || self == Self::Utf8)
    }
}

/// The JSON from which [`Encoding::fit_json`] made `stored`.
pub(crate) fn from_stored_json(stored: &str) -> Cow<'_, str> {
    const ESCAPE: &str = r"\\u{";
    if !stored.contains(ESCAPE) {
        return Cow::Borrowed(stored);
    }
    let mut json = String::with_capacity(stored.len());
    let mut rest = stored;
    while let Some(c) = rest.chars().next() {
        let escaped = rest.strip_prefix(ESCAPE).and_then(|hex| hex.split_once('}')).and_then(|(hex, behind)| {
            let c = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)?;
            Some((c, behind))
        });
        match escaped {
            Some(('\\', behind)) => {
                json += r"\\";
                rest = behind;
            }
            Some(('\0', behind)) => {
                json += r"\u0000";
                rest = behind;
            }
            Some((c, behind)) => {
                json.push(c);
                rest = behind;
            }
            None => {
                let taken = if rest.starts_with(r"\\") { 2 } else { c.len_utf8() };
                json += &rest[..taken];
                rest = &rest[taken..];
            }
        }
    }
    Cow::Owned(json)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_database_lacks_is_spelled_out() {
        assert_eq!(Encoding::Utf8.fit("二 é \0 a"), "二 é \u{fffd} a");
        assert_eq!(Encoding::Other.fit("二 é \0 a"), "\\u{4e8c} \\u{e9} \\u{0} a");
        assert_eq!(Encoding::Other.fit_json(r#"{"by":"é"}"#), r#"{"by":"\\u{e9}"}"#);
    }

    #[test]
    fn encodings_are_told_by_the_servers_name_for_them() {
        assert_eq!(
            ["UTF8", "LATIN1", "SQL_ASCII"].map(Encoding::named),
            [Encoding::Utf8, Encoding::Other, Encoding::Other]
        );
    }

    proptest! {
        #[test]
        fn every_text_fits(text in "\\PC{0,40}|[\\x00-\\u{10ffff}]{0,3000}") {
            for encoding in [Encoding::Utf8, Encoding::Other] {
                let fit = encoding.fit(&text);
                prop_assert!(fit.len() <= MOST_BYTES + CUT.len());
                prop_assert!(fit.chars().all(|c| encoding.holds(c)));
                let cut = fit.ends_with(&*encoding.escape(CUT));
                prop_assert!(cut || text.len() <= MOST_BYTES);
            }
        }

        #[test]
        fn json_comes_back_as_it_was(text in "(\\PC|\\\\|u\\{|[0-9a-f]|\\}|[\\x00-\\u{ff}]){0,40}") {
            let json = serde_json::to_string(&text).expect("a text is JSON");
            for encoding in [Encoding::Utf8, Encoding::Other] {
                let fit = encoding.fit_json(&json);
                prop_assert!(fit.chars().all(|c| encoding.holds(c)));
                prop_assert_eq!(serde_json::from_str::<String>(&from_stored_json(&fit)).expect("it is JSON"), text.clone());
            }
        }
    }
}
