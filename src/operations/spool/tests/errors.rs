//! Errors of the spool: corrupted files, numbers out of range, a folder that takes no file.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};

use super::super::*;
use super::steps::TABLES;
use super::{UNLIMITED, add, batch, finished, leaf, spool, spooled};

#[test]
fn every_wrong_byte_and_every_missing_end_is_an_error() {
    // Blocks of every length modulo the checksum's words.
    for name_bytes in 1..=8 {
        let name = "x".repeat(name_bytes);
        let written = || spool([leaf(&name, 1, 1), leaf(&name, 2, 1)], 0).expect("a disk with room");
        let leaves = TABLES.len() - 1;
        let corrupted = |spoil: &dyn Fn(&fs::File)| {
            let spool = written();
            spoil(spool.tables[leaves].files[0].file());
            matches!(finished(spool), Err(SpoolError::Corrupted { .. }))
        };
        for at in 0..written().tables[leaves].files[0].bytes() {
            assert!(corrupted(&|file| file.set_len(at).expect("a shorter file")), "truncated at {at}");
            assert!(corrupted(&|file| flip(file, at)), "changed at {at}");
        }
        assert!(finished(written()).is_ok());
    }
}

/// Changes the byte at `at`.
fn flip(mut file: &fs::File, at: u64) {
    let mut bytes = [0];
    file.seek(SeekFrom::Start(at)).expect("a place");
    file.read_exact(&mut bytes).expect("a byte");
    file.seek(SeekFrom::Start(at)).expect("a place");
    file.write_all(&[bytes[0] ^ 0x10]).expect("a byte");
}

#[test]
fn swapped_blocks_are_an_error() {
    let both = batch(|changes| {
        for id in ["a", "b"] {
            changes.upsert("wide", [id]).set("label", "x".repeat(2_000));
        }
    });
    let spool = spool([both], 0).expect("a disk with room");
    let run = &spool.tables[0].files[0];
    let (mut file, half) = (run.file(), run.bytes() as usize / 2);
    let mut bytes = Vec::new();
    file.rewind().expect("a place");
    file.read_to_end(&mut bytes).expect("bytes");
    bytes.rotate_left(half);
    file.rewind().expect("a place");
    file.write_all(&bytes).expect("bytes");
    assert!(matches!(finished(spool), Err(SpoolError::Corrupted { found: "a block with a wrong checksum", .. })));
}

#[test]
fn a_number_out_of_range_is_an_error_in_memory_and_on_disk() {
    for budget in [0, UNLIMITED] {
        let error = spooled(vec![add("a", i64::MAX), add("a", i64::MAX), add("b", 1)], budget).expect_err("too much");
        assert!(matches!(error, SpoolError::OutOfRange { table } if table == "wide"));
    }
}

#[test]
fn no_rows_follow_an_error() {
    let spool = spool([add("a", i64::MAX), add("b", 1)], UNLIMITED).expect("memory");
    let mut rows = spool.into_rows().next().expect("a table").expect("no file");
    assert!(rows.next().is_some_and(|row| row.is_err()));
    assert!(rows.next().is_none());
}

#[test]
fn the_error_names_a_folder_that_takes_no_file() {
    let mut spool = Spool::new(&TABLES, Path::new("/nowhere/at/all"), 0);
    let error = spool.add(add("a", 1)).expect_err("no folder").to_string();
    assert!(error.starts_with("creating a spool file in /nowhere/at/all: "), "{error}");
}
