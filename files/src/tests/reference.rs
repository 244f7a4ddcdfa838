//! The chapter of the book about expressions, of which the functions are made from their table. A test compares it with the
//! committed file.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::expression::{SPECIAL, function_groups};

/// With this variable, the test writes the chapter instead of comparing it.
const WRITE: &str = "READCAST_TEST_WRITE_REFERENCE";

const INTRODUCTION: &str = "\
# Expressions

The right sides in [projections as files](projection-files.md) are expressions of CEL, the [Common Expression
Language](https://github.com/google/cel-spec/blob/master/doc/langdef.md), which Kubernetes and many gateways use as well. An
expression sees one event and nothing else: no clock, no other event, no table. So a rebuild gives the same rows.

| name | value |
|---|---|
| `data` | the event's data: `data.customer.id`, `data.items[0].sku`, `data['odd name']` |
| `key` | the record's key: a text, or what its [format](../guides/formats.md#keys) says; null without a key |
| `type`, `version`, `event_id` | the type of the event, the version of its schema, its id |
| `time` | when the event happened, a timestamp |
| `headers` | the headers of the record: `headers.source` |
| `position` | `position.topic`, `position.partition`, `position.offset` |
| `correlation_id` | the correlation id, or null |
| `item`, `index` | with `foreach`: the item and its number from 0 |

## Values

A number with a fraction is an exact decimal of at most 28 digits: `0.1 + 0.2 == 0.3`. A float of a binary format, and what a
decimal does not hold, is a 64-bit float. Nothing is rounded unless `round` or `divide` is written: a result that is not exact is
an error, and the record a dead letter.

A field that is missing is an error, too. Write `data.?note` for null in its place, `data.?a.?b.orValue(0)` for a default,
`has(data.note)` to ask, and `coalesce(data.a, data.b, 'none')` for the first that is there.

Numbers, texts, lists and times that are not sure to have their type are converted by a function: `int(…)`, `decimal(…)`,
`string(…)`. Mistakes that can be seen without an event are refused when the file is loaded.

The conformance cases of CEL are among readcast's tests.
[What is not supported or differs](https://github.com/readcast/readcast/blob/main/tests/README.md#cels-conformance-cases) is listed
with its reason. An expression can't make a message of Protobuf, types and optional values are no values, and the names of a map
are texts.

| | |
|---|---|
| arithmetic | `+`, `-`, `*`, `/`, `%`; integers divide without their fraction; `+` also joins texts and lists, and adds a duration to a time |
| comparison | `==`, `!=`, `<`, `<=`, `>`, `>=`, `in` |
| logic | `&&`, `\\|\\|`, `!`, `condition ? a : b` |
| lists | `[1, 2]`, `list.map(x, x.price)`, `list.filter(x, x > 1)`, `list.all(…)`, `list.exists(…)`, `list.exists_one(…)` |
| maps | `{'a': 1}` |

## Functions

Each may be called on its first argument: `lower(data.name)` is `data.name.lower()`. A time zone is a name such as `Europe/Zurich`
or a distance from UTC such as `+01:00`; without one, times are in UTC.
";

fn chapter() -> String {
    let mut chapter = INTRODUCTION.to_owned();
    let mut table = |title: &str, rows: &mut dyn Iterator<Item = &'static str>| {
        let _ = write!(chapter, "\n### {title}\n\n| function | value |\n|---|---|\n");
        for about in rows {
            let (call, value) = about.split_once(": ").unwrap_or((about, ""));
            let _ = writeln!(chapter, "| {call} | {} |", value.replace('|', "\\|"));
        }
    };
    table("What is missing, and regular expressions", &mut SPECIAL.iter().map(|(_, about)| *about));
    for (title, functions) in function_groups() {
        table(title, &mut functions.iter().map(|function| function.about));
    }
    chapter
}

#[test]
#[allow(clippy::disallowed_methods)]
fn the_chapter_about_expressions_says_what_the_code_says() {
    let (path, chapter) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/reference/expressions.md"), chapter());
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &chapter).expect("the book can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == chapter,
        "{} is out of date. Write it again: {WRITE}=1 cargo test --lib reference",
        path.display()
    );
}
