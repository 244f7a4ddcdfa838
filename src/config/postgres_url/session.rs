//! The parameter `options`: settings of a session, as the server reads them from a command line.

/// The settings in `-c name=value --name=value`, in order. A backslash escapes the next character, even a space. Other
/// switches are refused, because they set nothing by name.
pub(super) fn settings(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut settings = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("-c"), word.strip_prefix("--")) {
            (Some(""), _) => words.next().unwrap_or_default(),
            (Some(setting), _) | (None, Some(setting)) => setting.to_owned(),
            (None, None) => return Err("can only hold `-c name=value` and `--name=value`".into()),
        };
        let Some((name, value)) = setting.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err("has a setting without a value; write `-c name=value`".into());
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

/// The words, split as the server's `pg_split_opts` splits them.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter.is_ascii_whitespace() || letter == '\x0b' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(letters.next()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        settings(text).unwrap()
    }

    fn setting(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn settings_are_read_as_the_server_reads_them() {
        assert_eq!(read(""), []);
        assert_eq!(read("-c geqo=off"), [setting("geqo", "off")]);
        assert_eq!(read("  -cgeqo=off\t--work-mem=4MB "), [setting("geqo", "off"), setting("work_mem", "4MB")]);
        assert_eq!(read(r"-c search_path=a,\ b"), [setting("search_path", "a, b")]);
        assert_eq!(read(r"-c application_name=/back\\slash"), [setting("application_name", r"/back\slash")]);
        assert_eq!(read("-c a.b=c=d -c a.b="), [setting("a.b", "c=d"), setting("a.b", "")]);
    }

    #[test]
    fn other_switches_are_refused() {
        for text in ["-e", "geqo=off", "-c", "-c geqo", "-c =x", "--", "-S 64", "-"] {
            assert!(settings(text).is_err(), "{text}");
        }
    }
}
