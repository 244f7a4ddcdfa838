//! The JSONTestSuite (<https://github.com/nst/JSONTestSuite>) through the format `json`. What its authors leave open is listed
//! here as we read it.

use std::path::PathBuf;
use std::process::Command;

use super::*;

/// The texts that a parser may read or not, and that are read here. Numbers beyond a double are refused by a projection that asks for
/// a double, and are exact for one that asks for a decimal of at most 28 digits.
const READ_OF_OPEN: [&str; 6] = [
    "i_number_double_huge_neg_exp",
    "i_number_real_underflow",
    "i_number_too_big_neg_int",
    "i_number_too_big_pos_int",
    "i_number_very_big_negative_int",
    "i_structure_UTF-8_BOM_empty_object",
];

/// The folder of the suite, which the package of `actson` has.
fn folder() -> PathBuf {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--format-version=1"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = metadata.output().expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == "actson").expect("it is a dependency of the tests");
    let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
    manifest.with_file_name("tests").join("json_test_suite/test_parsing")
}

/// Whether the bytes are read as data.
fn is_read(decoder: &dyn Decoder, bytes: Vec<u8>) -> bool {
    let record = Record { value: Some(bytes.into()), ..record("", &[]) };
    let events = decode(decoder, &TopicPartition::new("accounts", 0).at(7), &record);
    events.is_ok_and(|events| events[0].data::<serde_json::Value>().is_ok())
}

#[test]
fn what_is_json_is_read_and_nothing_else() {
    let decoders = configured("[topics.accounts]\nformat = 'json'\ntype = 'const:x'").expect("settings");
    let (mut counts, mut open) = ([0; 2], Vec::new());
    for entry in std::fs::read_dir(folder()).expect("a folder") {
        let path = entry.expect("a file").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let is_read = is_read(decoders.of("accounts"), std::fs::read(&path).expect("a file"));
        match name.split_at(2) {
            ("y_", _) => assert!(is_read, "{name} is JSON"),
            ("n_", _) => assert!(!is_read, "{name} is no JSON"),
            _ if is_read => open.push(name.clone()),
            _ => {}
        }
        counts[usize::from(name.starts_with("y_"))] += 1;
    }
    assert!(counts[0] > 200 && counts[1] > 90, "{counts:?} files");
    open.sort();
    assert_eq!(open, READ_OF_OPEN);
}
