//! Errors of the configuration: one line with the place and what was expected.

use std::fmt;

/// A configuration that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    place: Option<String>,
    problem: String,
}

impl ConfigError {
    /// A problem at one place: `readcast.toml:7:1`, a variable's name or a flag.
    pub(crate) fn at(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: Some(place.into()), problem: problem.into() }
    }

    /// A setting that has no value, although the table gives it a default.
    pub(super) fn no_value(name: &str) -> Self {
        Self::overall(format!("`{name}` has no value"))
    }

    /// A problem of the configuration as a whole.
    pub(crate) fn overall(problem: impl Into<String>) -> Self {
        Self { place: None, problem: problem.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}

/// `unknown WHAT`, with the nearest known name or, if none is near, with all names if they are few.
pub(super) fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    const FEW: usize = 12;
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known.iter().map(|candidate| (distance(name, candidate), candidate)).min();
    match nearest {
        Some((distance, nearest)) if distance <= 1 + name.len() / 4 => {
            format!("unknown {what} `{name}`; did you mean `{nearest}`?")
        }
        Some(_) if known.len() <= FEW => format!("unknown {what} `{name}`; there are `{}`", known.join("`, `")),
        _ => format!("unknown {what} `{name}`"),
    }
}

/// How many characters must be inserted, removed or replaced to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_names_the_nearest_name() {
        assert_eq!(
            unknown("key", "bacth_records", ["lanes", "batch_records"]),
            "unknown key `bacth_records`; did you mean `batch_records`?"
        );
    }

    #[test]
    fn a_far_miss_lists_the_names() {
        assert_eq!(unknown("key", "colour", ["app", "lanes"]), "unknown key `colour`; there are `app`, `lanes`");
    }

    #[test]
    fn the_distance_counts_edits() {
        assert_eq!([distance("", "abc"), distance("kitten", "sitting"), distance("same", "same")], [3, 3, 0]);
    }
}
