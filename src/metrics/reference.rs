//! The reference chapter of the metrics, made from the registry. The test that compares it with the book needs it, and
//! nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use readcast_core::TopicPartition;

use super::Metrics;
use crate::health::State;
use crate::plan::Tally;
use crate::store::{ParkedCounts, Written};

const INTRODUCTION: &str = "\
`GET /metrics` of the admin server returns these metrics as OpenMetrics text. Labels name projections, topics and partitions,
never a key or an id.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
";

/// The chapter as Markdown.
pub(crate) fn chapter() -> String {
    let encoded = sample().encode();
    let families = encoded.split("# HELP ").skip(1).map(row);
    format!("# Metrics\n\n{INTRODUCTION}{}", families.collect::<String>())
}

/// Metrics that each have a value, because labels show only with a value.
fn sample() -> Metrics {
    let metrics = Metrics::new();
    let projection = metrics.projection("NAME");
    projection.recorded(&Tally::default());
    projection.committed(Duration::ZERO, &Written::default());
    projection.lag(&TopicPartition::new("TOPIC", 0), 0);
    projection.parked(&ParkedCounts::default());
    projection.state("new", &State::NAMES);
    metrics
}

/// One family, from its name and help on.
fn row(family: &str) -> String {
    let mut lines = family.lines();
    let (name, help) = lines.next().and_then(|line| line.split_once(' ')).expect("a name and a help text");
    let kind = lines.next().and_then(|line| line.rsplit_once(' ')).expect("a type").1;
    let samples: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
    assert!(!samples.is_empty(), "`sample` gives {name} no value");
    let name = match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    };
    format!("| <a id=\"{name}\"></a>`{name}` | {kind} | {} | {help} |\n", labels(&samples))
}

/// The labels of the samples, with the values of those that have few.
fn labels(samples: &[&str]) -> String {
    let of_sample =
        |sample: &&str| sample.split_once('{').and_then(|(_, rest)| Some(rest.split_once('}')?.0.to_owned()));
    let pairs: Vec<String> = samples
        .iter()
        .filter_map(of_sample)
        .flat_map(|pairs| pairs.split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().filter_map(|pair| pair.split_once('=')).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in pairs.iter().filter(|(name, _)| *name != "le") {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let shown = names.into_iter().map(|name| {
        let values: BTreeSet<String> = pairs
            .iter()
            .filter(|(of, _)| *of == name)
            .map(|(_, value)| format!("`{}`", value.trim_matches('"')))
            .collect();
        let few = matches!(name, "outcome" | "state" | "kind");
        if few {
            format!("`{name}`: {}", values.into_iter().collect::<Vec<_>>().join(", "))
        } else {
            format!("`{name}`")
        }
    });
    shown.collect::<Vec<_>>().join("; ")
}
