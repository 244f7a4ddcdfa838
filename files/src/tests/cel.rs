//! The conformance cases of CEL (<https://github.com/google/cel-spec>). What is not supported or differs is listed in
//! `differences.rs`, and in `tests/README.md` for people.

mod case;
mod differences;
mod textproto;

use std::collections::BTreeMap;

use readcast_core::{Envelope, Payload, Timestamp, TopicPartition};

use self::case::{Case, Expected};
use self::differences::{DIFFERENCES, FILES, UNSUPPORTED};
use crate::datum::Datum;
use crate::expression::{Expression, Kind, Names, Scope};

/// How a case ends.
enum Outcome {
    Passed,
    /// It needs what is listed in this place of [`UNSUPPORTED`].
    Unsupported(usize),
    /// What was found instead.
    Different(String),
}

/// The place in [`UNSUPPORTED`] of what a message is about.
fn unsupported(message: &str) -> Option<usize> {
    UNSUPPORTED.iter().position(|unsupported| unsupported.messages.iter().any(|part| message.contains(part)))
}

fn run(case: &Case) -> Outcome {
    let bindings = match (&case.bindings, &case.expected) {
        (Err(what), _) | (_, Expected::Foreign(what)) => {
            return Outcome::Unsupported(unsupported(what).unwrap_or_else(|| panic!("{what} is not listed")));
        }
        (Ok(bindings), _) => bindings,
    };
    let mut names = Names::default();
    bindings.iter().for_each(|(name, _)| names.push(name, Kind::Any, None));
    let expression = match Expression::compile(&case.expression, &mut names) {
        Ok(expression) => expression,
        Err(errors) => {
            return match errors.iter().find_map(|error| unsupported(&error.message)) {
                Some(place) => Outcome::Unsupported(place),
                None if matches!(case.expected, Expected::Error) => Outcome::Passed,
                None => Outcome::Different(errors[0].message.clone()),
            };
        }
    };
    let time = Timestamp::from_micros(0).expect("a time");
    let event = Envelope::new(TopicPartition::new("t", 0).at(0), None, "e1", "T", time, Payload::Empty);
    let mut scope = Scope::new(&event, &names.shape).expect("no data");
    bindings.iter().for_each(|(_, value)| scope.push(value.clone()));
    match (expression.evaluate(&mut scope), &case.expected) {
        (Ok(found), Expected::Value(expected)) if is_same(&found, expected) => Outcome::Passed,
        (Err(_), Expected::Error) => Outcome::Passed,
        (found, _) => Outcome::Different(format!("{found:?}")),
    }
}

/// Whether a value is the expected one and of its type. A decimal or a float is where CEL has a float.
fn is_same(found: &Datum<'_>, expected: &Datum<'_>) -> bool {
    match (found, expected) {
        (Datum::Double(found), Datum::Double(expected)) if expected.is_nan() => found.is_nan(),
        (Datum::Decimal(_) | Datum::Double(_), Datum::Double(expected)) => found.as_float() == Some(*expected),
        (_, Datum::Double(_)) | (Datum::Decimal(_) | Datum::Double(_), Datum::Int(_)) => false,
        (Datum::List(found), Datum::List(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected.iter()).all(|(a, b)| is_same(a, b))
        }
        (Datum::Map(found), Datum::Map(expected)) => {
            found.names().count() == expected.names().count()
                && found.names().all(|name| {
                    let both = found.get(name).zip(expected.get(name));
                    both.is_some_and(|(found, expected)| is_same(found, expected))
                })
        }
        (found, expected) => found.equals(expected),
    }
}

#[test]
fn every_case_of_cel_passes_or_is_listed_with_its_reason() {
    let mut files = BTreeMap::<String, [usize; 3]>::new();
    let mut needed = [0; UNSUPPORTED.len()];
    let mut listed: Vec<&str> = DIFFERENCES.iter().flat_map(|difference| difference.cases).copied().collect();
    let mut unlisted = Vec::new();
    for case in case::all() {
        let column = match run(&case) {
            Outcome::Passed => 0,
            Outcome::Unsupported(place) => {
                needed[place] += 1;
                1
            }
            Outcome::Different(found) => {
                match listed.iter().position(|name| *name == case.name) {
                    Some(place) => drop(listed.swap_remove(place)),
                    None => unlisted
                        .push(format!("{}: {}\n    {found}, and not {:?}", case.name, case.expression, case.expected)),
                }
                2
            }
        };
        let file = case.name.split('/').next().expect("a file");
        files.entry(file.to_owned()).or_default()[column] += 1;
    }
    assert!(unlisted.is_empty(), "these cases differ and are not listed:\n{}", unlisted.join("\n"));
    assert!(listed.is_empty(), "these cases are listed and do not differ:\n{}", listed.join("\n"));
    let counted: Vec<_> =
        UNSUPPORTED.iter().zip(needed).map(|(unsupported, cases)| (unsupported.what, cases)).collect();
    assert_eq!(counted, UNSUPPORTED.map(|unsupported| (unsupported.what, unsupported.cases)));
    let files: Vec<_> = files.iter().map(|(name, counts)| (name.as_str(), *counts)).collect();
    assert_eq!(files, FILES);
}

#[test]
fn what_differs_from_cel_is_described_in_the_readme_of_the_tests() {
    let readme = include_str!("../../../tests/README.md");
    let totals = [0, 1, 2].map(|column| FILES.iter().map(|(_, counts)| counts[column]).sum::<usize>());
    let [passed, needing, different] = totals;
    let all = passed + needing + different;
    for sentence in [
        format!("Of the {all} cases {passed} pass."),
        format!("What {needing} cases need"),
        format!("And {different} have"),
    ] {
        assert!(readme.contains(&sentence), "tests/README.md does not say: {sentence}");
    }
    let unsupported = UNSUPPORTED.iter().map(|row| (row.what, row.why, row.cases));
    let differences = DIFFERENCES.iter().map(|row| (row.what, row.why, row.cases.len()));
    for (what, why, cases) in unsupported.chain(differences) {
        let row = format!("\n| {what} | {why} | {cases} |\n");
        assert!(readme.contains(&row), "tests/README.md has no row{row}");
    }
}
