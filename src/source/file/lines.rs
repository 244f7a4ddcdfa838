//! Splits a file into lines and makes records of them. `form` splits a line into key and value.
//!
//! A line ends with a newline; the text after the last newline is not a record yet. This file reads the ranges that its
//! caller asks for. It knows nothing of topics, of following a file, or of missing files.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::form::{self, Form, Parts};
use crate::source::Record;

/// The size of one read: large enough to be efficient, small enough not to delay other tasks of the thread.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;

/// The beginning of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinePosition {
    /// The line's offset.
    pub(super) next_offset: i64,
    /// The number of bytes before the line.
    pub(super) byte: u64,
}

impl LinePosition {
    /// A position after the end of every file.
    pub(super) const END: Self = Self { next_offset: i64::MAX, byte: u64::MAX };

    fn advance(&mut self, line_bytes: usize) {
        self.next_offset += 1;
        self.byte += line_bytes as u64;
    }

    /// Whether a line of `file` begins at this position.
    pub(super) fn begins_line(self, file: &File) -> io::Result<bool> {
        Ok(self.byte == 0 || read(file, self.byte - 1, 1)? == b"\n")
    }

    /// The position of the line `offset`, searched from this position on. The end of the last line if the file has
    /// fewer lines.
    pub(super) fn seek(mut self, file: &File, offset: i64) -> io::Result<Self> {
        let mut read_to = self.byte;
        while self.next_offset < offset {
            let block = read(file, read_to, BLOCK_BYTES)?;
            if block.is_empty() {
                break;
            }
            let mut rest = block.as_slice();
            while self.next_offset < offset
                && let Some(line) = first_line(rest)
            {
                rest = &rest[line..];
                self.next_offset += 1;
                self.byte = read_to + (block.len() - rest.len()) as u64;
            }
            read_to += block.len() as u64;
        }
        Ok(self)
    }
}

/// `length` bytes from `start` on, or fewer at the end of the file.
pub(super) fn read(file: &File, start: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut block = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut block[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block.truncate(filled);
    Ok(block)
}

/// The id of the log in `file`: the first 32 digits of `head -n 1 FILE | sha256sum`. `None` without a complete line.
pub(super) fn log_id(file: &File) -> io::Result<Option<String>> {
    let mut digest = Sha256::new();
    let mut read_to = 0;
    loop {
        let block = read(file, read_to, 4096)?;
        let line = first_line(&block);
        digest.update(&block[..line.unwrap_or(block.len())]);
        if line.is_some() {
            break;
        }
        if block.is_empty() {
            return Ok(None);
        }
        read_to += block.len() as u64;
    }
    Ok(Some(digest.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// The records of the complete lines of `block`, which begins at `position`. Advances `position` to the end of these
/// lines and updates `form`.
///
/// Keys and values are slices of the block. Lines are not copied, and the block lives as long as any of its records.
pub(super) fn records(block: &Bytes, position: &mut LinePosition, form: &mut Form) -> Vec<Record> {
    let mut records = Vec::new();
    let mut start = 0;
    while let Some(line) = first_line(&block[start..]) {
        let text = text(&block[start..start + line], position.byte == 0);
        *form = form.after(text);
        let Parts { key, value, remark } = form.split(block.slice_ref(text));
        records.push(Record { offset: position.next_offset, key, value: Some(value), remark, ..Record::default() });
        position.advance(line);
        start += line;
    }
    records
}

/// The form of `file`, inferred from the lines before `position`.
pub(super) fn form_before(file: &File, position: LinePosition) -> io::Result<Form> {
    let mut lines = BufReader::with_capacity(BLOCK_BYTES, Reader { file, byte: 0 }.take(position.byte));
    let (mut form, mut line, mut is_first) = (Form::default(), Vec::new(), true);
    while form == Form::Undecided && lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        form = form.after(text(&line, is_first));
        is_first = false;
        line.clear();
    }
    Ok(form)
}

/// The encoding of `file`, if its byte order mark shows that it is not UTF-8.
pub(super) fn foreign_encoding(file: &File) -> io::Result<Option<&'static str>> {
    read(file, 0, 4).map(|beginning| form::foreign_encoding(&beginning))
}

/// A line without its line break. The first line of a file is also stripped of its byte order mark.
fn text(line: &[u8], is_first: bool) -> &[u8] {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if is_first { form::without_mark(text) } else { text }
}

/// A reader with its own position in a shared file.
struct Reader<'a> {
    file: &'a File,
    byte: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.byte)?;
        self.byte += count as u64;
        Ok(count)
    }
}

/// The length of the first line of `bytes` with its newline. `None` without a newline.
fn first_line(bytes: &[u8]) -> Option<usize> {
    // `skip_until` searches with memchr, which the standard library offers only for readers.
    let mut rest = bytes;
    let length = rest.skip_until(b'\n').unwrap_or(0);
    bytes[..length].ends_with(b"\n").then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Vec<(i64, Option<String>, String)>, LinePosition) {
        let text_of = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let mut position = LinePosition::default();
        let records = records(&Bytes::copy_from_slice(text.as_bytes()), &mut position, &mut Form::default());
        let row = |r: &Record| (r.offset, r.key.as_ref().map(text_of), text_of(r.value.as_ref().unwrap()));
        (records.iter().map(row).collect(), position)
    }

    fn file(text: &str) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
        file
    }

    #[test]
    fn a_line_has_a_key_or_none() {
        let row = |offset, key: Option<&str>, value: &str| (offset, key.map(str::to_owned), value.to_owned());
        let (rows, _) = parse("k1\t{\"a\":1}\n{\"b\":\"\t\"}\n\t{}\nk2\t\nk3\tx\ty\nneither\n\n");
        let expected = [
            row(0, Some("k1"), "{\"a\":1}"),
            row(1, None, "{\"b\":\"\t\"}"),
            row(2, None, "{}"),
            row(3, Some("k2"), ""),
            row(4, Some("k3"), "x\ty"),
            row(5, None, "neither"),
            row(6, None, ""),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_carriage_return_belongs_to_the_newline() {
        let (rows, position) = parse("k\t{}\r\n\r\n{}\r");
        assert_eq!(rows, [(0, Some("k".into()), "{}".into()), (1, None, String::new())]);
        assert_eq!(position, LinePosition { next_offset: 2, byte: 8 });
    }

    #[test]
    fn a_byte_order_mark_is_ignored_only_at_the_beginning_of_a_file() {
        let (rows, position) = parse("\u{feff}k\t{}\n\u{feff}k\t{}\n");
        let row = |offset, key: &str| (offset, Some(key.to_owned()), "{}".to_owned());
        assert_eq!(rows, [row(0, "k"), row(1, "\u{feff}k")]);
        assert_eq!(position, LinePosition { next_offset: 2, byte: 16 });
        assert_eq!(parse("\u{feff}\n{}\n").0, [(0, None, String::new()), (1, None, "{}".to_owned())]);
        assert_eq!(foreign_encoding(&file("\u{feff}{}\n")).unwrap(), None);
    }

    #[test]
    fn the_form_before_a_position_equals_the_form_after_reading_up_to_it() {
        let json_keys = "\n\u{feff}\nneither\r\n{\"k\":1}\t{}\r\n{}\n";
        for text in [json_keys, "\u{feff}{}\nk\t{}\n", "", "a\nb\n", "{\"k\":1}\t{}"] {
            let (file, block) = (file(text), Bytes::copy_from_slice(text.as_bytes()));
            for ends in (0..=text.len()).filter(|ends| *ends == 0 || text.as_bytes()[ends - 1] == b'\n') {
                let (mut position, mut form) = (LinePosition::default(), Form::default());
                records(&block.slice(..ends), &mut position, &mut form);
                assert_eq!(form_before(&file, position).unwrap(), form, "{text:?} up to {ends}");
            }
        }
    }

    #[test]
    fn a_position_is_found_in_the_middle_and_across_blocks() {
        let long = "x".repeat(BLOCK_BYTES);
        let file = file(&format!("{long}\nab\n{long}\nunfinished"));
        let block = BLOCK_BYTES as u64;
        let start = LinePosition::default();
        assert_eq!(start.seek(&file, 0).unwrap(), start);
        assert_eq!(start.seek(&file, 1).unwrap(), LinePosition { next_offset: 1, byte: block + 1 });
        let second = start.seek(&file, 2).unwrap();
        assert_eq!(second, LinePosition { next_offset: 2, byte: block + 4 });
        let end = LinePosition { next_offset: 3, byte: 2 * block + 5 };
        assert_eq!(start.seek(&file, i64::MAX).unwrap(), end);
        assert_eq!(second.seek(&file, i64::MAX).unwrap(), end);
        assert!(end.begins_line(&file).unwrap());
        assert!(!LinePosition { byte: end.byte + 1, ..end }.begins_line(&file).unwrap());
    }

    #[test]
    fn the_first_complete_line_identifies_a_log() {
        assert_eq!(log_id(&file("")).unwrap(), None);
        assert_eq!(log_id(&file("unfinished")).unwrap(), None);
        // printf 'a\n' | sha256sum
        assert_eq!(log_id(&file("a\nb\n")).unwrap().unwrap(), "87428fc522803d31065e7bce3cf03fe4");
        let long = "x".repeat(10_000);
        assert_eq!(log_id(&file(&format!("{long}\n"))).unwrap(), log_id(&file(&format!("{long}\nb"))).unwrap());
        assert_ne!(log_id(&file(&format!("{long}\n"))).unwrap(), log_id(&file(&format!("{long}y\n"))).unwrap());
    }
}
