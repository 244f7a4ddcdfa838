//! Lines as records: where they begin in a file and where they end. What key and value they hold is known to `form`.
//!
//! A line ends with its newline; what follows the last one is not an event yet. This file reads what it is told to and
//! knows nothing of topics, of following a file, or of what its absence means.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::form::{self, Form, Parts};
use crate::source::Record;

/// What is read at once: large enough that reading costs little, small enough to do between two other tasks.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;

/// Where a line begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Its offset.
    pub(super) next_offset: i64,
    /// The file's bytes before it.
    pub(super) byte: u64,
}

impl Place {
    /// Behind whatever a file holds.
    pub(super) const END: Self = Self { next_offset: i64::MAX, byte: u64::MAX };

    fn pass(&mut self, line: usize) {
        self.next_offset += 1;
        self.byte += line as u64;
    }

    /// Whether a line begins here in `file`, as it did once.
    pub(super) fn begins_line(self, file: &File) -> io::Result<bool> {
        Ok(self.byte == 0 || read(file, self.byte - 1, 1)? == b"\n")
    }

    /// The line `offset`, looked for from here on, or the file's end when there are not as many.
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

/// Up to `length` bytes from `start` on: fewer only at the file's end.
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

/// What tells the log in `file` from another: the beginning of `head -n 1 FILE | sha256sum`. None before there is a line.
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

/// The complete lines of `block`, which begins at `place`, as records; `place` moves behind them, and `form` becomes what
/// they tell.
///
/// Keys and values are slices of the block: no copy a line, and the block lives as long as any record of it.
pub(super) fn records(block: &Bytes, place: &mut Place, form: &mut Form) -> Vec<Record> {
    let mut records = Vec::new();
    let mut start = 0;
    while let Some(line) = first_line(&block[start..]) {
        let text = text(&block[start..start + line], place.byte == 0);
        *form = form.after(text);
        let Parts { key, value, remark } = form.split(block.slice_ref(text));
        records.push(Record { offset: place.next_offset, key, value: Some(value), remark, ..Record::default() });
        place.pass(line);
        start += line;
    }
    records
}

/// The form that the lines of `file` before `place` tell.
pub(super) fn form_before(file: &File, place: Place) -> io::Result<Form> {
    let mut lines = BufReader::with_capacity(BLOCK_BYTES, Reader { file, byte: 0 }.take(place.byte));
    let (mut form, mut line, mut is_first) = (Form::default(), Vec::new(), true);
    while form == Form::Undecided && lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        form = form.after(text(&line, is_first));
        is_first = false;
        line.clear();
    }
    Ok(form)
}

/// What the whole of `file` is written in, if that is not UTF-8.
pub(super) fn foreign_encoding(file: &File) -> io::Result<Option<&'static str>> {
    read(file, 0, 4).map(|beginning| form::foreign_encoding(&beginning))
}

/// What a line says, without its end, and without the mark before the first of a file.
fn text(line: &[u8], is_first: bool) -> &[u8] {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if is_first { form::without_mark(text) } else { text }
}

/// Reads a file that others read too, from a place of its own.
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

/// How long the first line of `bytes` is with its newline, if that is there.
fn first_line(bytes: &[u8]) -> Option<usize> {
    // The standard library searches for a byte many at a time, but offers that only to readers.
    let mut rest = bytes;
    let length = rest.skip_until(b'\n').unwrap_or(0);
    bytes[..length].ends_with(b"\n").then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Vec<(i64, Option<String>, String)>, Place) {
        let text_of = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let mut place = Place::default();
        let records = records(&Bytes::copy_from_slice(text.as_bytes()), &mut place, &mut Form::default());
        let row = |r: &Record| (r.offset, r.key.as_ref().map(text_of), text_of(r.value.as_ref().unwrap()));
        (records.iter().map(row).collect(), place)
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
        let (rows, place) = parse("k\t{}\r\n\r\n{}\r");
        assert_eq!(rows, [(0, Some("k".into()), "{}".into()), (1, None, String::new())]);
        assert_eq!(place, Place { next_offset: 2, byte: 8 });
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_at_the_beginning_of_a_file_alone() {
        let (rows, place) = parse("\u{feff}k\t{}\n\u{feff}k\t{}\n");
        let row = |offset, key: &str| (offset, Some(key.to_owned()), "{}".to_owned());
        assert_eq!(rows, [row(0, "k"), row(1, "\u{feff}k")]);
        assert_eq!(place, Place { next_offset: 2, byte: 16 });
        assert_eq!(parse("\u{feff}\n{}\n").0, [(0, None, String::new()), (1, None, "{}".to_owned())]);
        assert_eq!(foreign_encoding(&file("\u{feff}{}\n")).unwrap(), None);
    }

    #[test]
    fn the_form_before_a_place_is_the_one_that_reading_up_to_there_told() {
        let json_keys = "\n\u{feff}\nneither\r\n{\"k\":1}\t{}\r\n{}\n";
        for text in [json_keys, "\u{feff}{}\nk\t{}\n", "", "a\nb\n", "{\"k\":1}\t{}"] {
            let (file, block) = (file(text), Bytes::copy_from_slice(text.as_bytes()));
            for ends in (0..=text.len()).filter(|ends| *ends == 0 || text.as_bytes()[ends - 1] == b'\n') {
                let (mut place, mut form) = (Place::default(), Form::default());
                records(&block.slice(..ends), &mut place, &mut form);
                assert_eq!(form_before(&file, place).unwrap(), form, "{text:?} up to {ends}");
            }
        }
    }

    #[test]
    fn a_place_is_found_in_the_middle_and_across_blocks() {
        let long = "x".repeat(BLOCK_BYTES);
        let file = file(&format!("{long}\nab\n{long}\nunfinished"));
        let block = BLOCK_BYTES as u64;
        let start = Place::default();
        assert_eq!(start.seek(&file, 0).unwrap(), start);
        assert_eq!(start.seek(&file, 1).unwrap(), Place { next_offset: 1, byte: block + 1 });
        let second = start.seek(&file, 2).unwrap();
        assert_eq!(second, Place { next_offset: 2, byte: block + 4 });
        let end = Place { next_offset: 3, byte: 2 * block + 5 };
        assert_eq!(start.seek(&file, i64::MAX).unwrap(), end);
        assert_eq!(second.seek(&file, i64::MAX).unwrap(), end);
        assert!(end.begins_line(&file).unwrap());
        assert!(!Place { byte: end.byte + 1, ..end }.begins_line(&file).unwrap());
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
