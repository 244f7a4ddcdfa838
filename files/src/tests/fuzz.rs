//! Faulty files and expressions end in an error and never in a panic, a hang or a full memory. `READCAST_TEST_FUZZ` says how many
//! inputs are tried, a million for a long run; `READCAST_TEST_SEED` repeats one.

use std::time::{Duration, Instant};

use readcast_core::testing::SplitMix64;
use readcast_core::{Changes, Envelope, Payload, Projection as _, Timestamp, TopicPartition};

use crate::FileProjection;
use crate::expression::{Expression, Names, Scope};

/// No input may take longer. It is far more than any needs, for machines that are busy.
const LONGEST: Duration = Duration::from_secs(10);

/// What expressions consist of.
const TOKENS: [&str; 72] = [
    "data",
    ".",
    "a",
    "b",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    "?",
    ".?",
    "[?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    ">=",
    "&&",
    "||",
    "!",
    " in ",
    "1",
    "0",
    "-1",
    "9223372036854775807",
    "1.5",
    "0.1e300",
    "2u",
    "'t'",
    "\"t\\n\"",
    "b'x'",
    "true",
    "null",
    "item",
    "index",
    "key",
    "time",
    "headers",
    "position",
    "map(x, x)",
    "filter(x, x > 1)",
    "exists(x, x)",
    "size",
    "sum",
    "has",
    "coalesce",
    "matches",
    "replace",
    "substring",
    "split",
    "indexOf",
    "lastIndexOf",
    "charAt",
    "'öö'",
    "getHours",
    "'-02:30'",
    "uint",
    "truncate",
    "'day'",
    "'Europe/Zurich'",
    "duration('1h')",
    "timestamp('2024-05-20T14:30:00Z')",
    "round",
    "string",
    " ",
];

const DATA: [&str; 6] = [
    r#"{"a":{"b":[1,2.50,"x",null,{"a":1}]},"b":"2024-05-20T14:30:00Z"}"#,
    r#"[[1,[2]],{"a":"b"}]"#,
    "1e300",
    "\"text\"",
    "null",
    r#"{"a":1,"a":2}"#,
];

#[allow(clippy::disallowed_methods)]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

struct Fuzz {
    random: SplitMix64,
    seed: u64,
}

impl Fuzz {
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.random.below(limit as u64)).expect("it is below a usize")
    }

    fn expression(&mut self) -> String {
        (0..1 + self.below(24)).map(|_| TOKENS[self.below(TOKENS.len())]).collect()
    }

    /// The text with a few random changes: bytes that are replaced, parts that are removed, repeated, or moved.
    fn mutated(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..1 + self.below(4) {
            let (from, length) = (self.below(bytes.len().max(1)), self.below(40));
            let part: Vec<u8> = bytes.iter().skip(from).take(length).copied().collect();
            match self.below(5) {
                0 if from < bytes.len() => bytes[from] = u8::try_from(self.below(128)).expect("ASCII"),
                1 => drop(bytes.drain(from.min(bytes.len())..(from + length).min(bytes.len()))),
                2 => bytes.splice(from..from, part.repeat(1 + self.below(20))).for_each(drop),
                3 => {
                    let token = self.expression();
                    bytes.splice(from..from, token.bytes()).for_each(drop);
                }
                _ => bytes.splice(from..from, part).for_each(drop),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs `work`, and says which input it was that panics or takes too long.
    fn watched(&self, input: &str, work: impl FnOnce()) {
        let begun = Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let took = begun.elapsed();
        assert!(outcome.is_ok() && took < LONGEST, "seed {}, after {took:?}:\n{input}", self.seed);
    }
}

fn event(data: &'static str) -> Envelope<'static> {
    let time = Timestamp::from_micros(1_716_215_400_000_000).expect("a time");
    let payload = Payload::json(data).expect("JSON");
    Envelope::new(TopicPartition::new("orders", 0).at(7), Some(b"k1"), "e1", "ORDER_PLACED", time, payload)
}

#[test]
fn no_expression_and_no_file_panics_or_hangs() {
    let seed = setting("READCAST_TEST_SEED").unwrap_or(7);
    let inputs = setting("READCAST_TEST_FUZZ").unwrap_or(4_000);
    let mut fuzz = Fuzz { random: SplitMix64::new(seed), seed };
    let events = DATA.map(event);
    let files = [
        include_str!("../../../projections/shop/order_summary.toml"),
        include_str!("../../../projections/shop/product_sales.toml"),
        include_str!("../../../projections/bank/bank.toml"),
    ];
    let (mut compiled, mut loaded) = (0, 0);
    for number in 0..inputs {
        if number % 4 != 0 {
            let text = fuzz.expression();
            fuzz.watched(&text, || compiled += u32::from(evaluated(&text, &events)));
        } else {
            let text = fuzz.mutated(files[usize::try_from(number / 4).expect("few") % files.len()]);
            fuzz.watched(&text, || loaded += u32::from(projected(&text, &events)));
        }
    }
    assert!(compiled > 0 && loaded > 0, "{compiled} compiled, {loaded} loaded");
}

fn evaluated(text: &str, events: &[Envelope<'static>]) -> bool {
    let mut names = Names::default();
    let Ok(expression) = Expression::compile(text, &mut names) else { return false };
    for event in events {
        if let Ok(mut scope) = Scope::new(event, &names.shape) {
            let _ = expression.evaluate(&mut scope);
        }
    }
    true
}

fn projected(text: &str, events: &[Envelope<'static>]) -> bool {
    match FileProjection::load("random.toml", text) {
        Ok(projection) => {
            let tables = projection.tables();
            for event in events {
                let mut changes = Changes::new(&tables);
                let _ = projection.project(event, &mut changes);
                let _ = projection.affected(event);
                let _ = projection.explain(event);
            }
            true
        }
        Err(problems) => {
            // As it is shown.
            problems.iter().for_each(|problem| drop((problem.to_string(), problem.line())));
            false
        }
    }
}

#[test]
fn what_is_nested_too_deeply_is_refused() {
    let many = 100_000;
    for text in [
        format!("topics = {}{}", "[".repeat(many), "]".repeat(many)),
        format!("{}a = 1", "a.".repeat(many)),
        format!("[{}a]", "a.".repeat(many)),
        format!("topics = {}1{}", "{a=".repeat(many), "}".repeat(many)),
    ] {
        assert!(FileProjection::load("deep.toml", &text).is_err());
    }
    for part in ["(", "[", "-", "!", "{'a':", "data.map(x,", "1+", "a.", "a?b:", "data[?"] {
        assert!(Expression::compile(&part.repeat(4_000 / part.len()), &mut Names::default()).is_err(), "{part}");
    }
    for long in [format!("1{}", "+1".repeat(4_000)), format!("data{}", ".a".repeat(4_000))] {
        let errors = Expression::compile(&long, &mut Names::default()).expect_err("too deep");
        assert!(errors[0].message.contains("nested more than 100 levels"), "{}", errors[0].message);
    }
}
