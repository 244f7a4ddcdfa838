//! One row of the results: figure, baseline, and whether the target is met.

use serde::{Deserialize, Serialize};

/// The result of one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) unit: String,
    /// The figure of every run. Empty if the case can't be measured here.
    pub(crate) figures: Vec<f64>,
    pub(crate) baseline: Option<Baseline>,
    pub(crate) target: Option<Target>,
    /// The median of the ratios of figure and baseline of all runs.
    pub(crate) ratio: Option<f64>,
    pub(crate) met: Option<bool>,
    /// A remark, or the reason why there is no figure.
    pub(crate) note: String,
}

/// The baseline of the figure, in the same unit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Baseline {
    pub(crate) name: String,
    /// The baseline of every run, measured in turns with the figures.
    pub(crate) figures: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Target {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    AtMost(f64),
}

impl Row {
    pub(crate) fn new(case: &str, unit: &str, figures: Vec<f64>) -> Self {
        let (case, unit) = (case.to_owned(), unit.to_owned());
        let mut row =
            Self { case, unit, figures, baseline: None, target: None, ratio: None, met: None, note: String::new() };
        row.judge();
        row
    }

    /// A case that can't be measured here, with the reason.
    pub(crate) fn unmeasured(case: &str, unit: &str, why: &str) -> Self {
        Self::new(case, unit, Vec::new()).noting(why)
    }

    #[must_use]
    pub(crate) fn against(mut self, name: &str, figures: Vec<f64>) -> Self {
        assert!(self.figures.is_empty() || self.figures.len() == figures.len(), "figure and baseline come in pairs");
        self.baseline = Some(Baseline { name: name.to_owned(), figures });
        self.judge();
        self
    }

    #[must_use]
    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self.judge();
        self
    }

    #[must_use]
    pub(crate) fn noting(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn judge(&mut self) {
        if self.figures.is_empty() {
            return;
        }
        self.ratio = self.baseline.as_ref().map(|baseline| {
            median(&self.figures.iter().zip(&baseline.figures).map(|(figure, base)| figure / base).collect::<Vec<_>>())
        });
        self.met = self.target.map(|target| match target {
            Target::RatioAtLeast(least) => self.ratio.is_some_and(|ratio| ratio >= least),
            Target::RatioAtMost(most) => self.ratio.is_some_and(|ratio| ratio <= most),
            Target::AtMost(most) => median(&self.figures) <= most,
        });
    }

    /// Whether the target is met, or by how much it is missed. Empty without a target.
    pub(crate) fn verdict(&self) -> String {
        match (self.met, self.target) {
            (Some(true), _) => "met".to_owned(),
            (Some(false), Some(Target::RatioAtLeast(least))) => missed(1.0 - self.ratio.unwrap_or_default() / least),
            (Some(false), Some(Target::RatioAtMost(most))) => missed(self.ratio.unwrap_or_default() / most - 1.0),
            (Some(false), Some(Target::AtMost(most))) => missed(median(&self.figures) / most - 1.0),
            (None, Some(_)) => "not measured".to_owned(),
            (_, None) => String::new(),
        }
    }

    pub(crate) fn figure(&self) -> String {
        if self.figures.is_empty() { "-".to_owned() } else { format!("{} {}", spread(&self.figures), self.unit) }
    }

    pub(crate) fn baseline(&self) -> Option<String> {
        let baseline = self.baseline.as_ref()?;
        Some(format!("{} of {}", spread(&baseline.figures), baseline.name))
    }

    pub(crate) fn ratio(&self) -> Option<String> {
        self.ratio.map(plain)
    }
}

impl Target {
    pub(crate) fn show(self) -> String {
        match self {
            Target::RatioAtLeast(least) => format!("at least {} x", plain(least)),
            Target::RatioAtMost(most) => format!("at most {} x", plain(most)),
            Target::AtMost(most) => format!("at most {}", plain(most)),
        }
    }
}

fn missed(by: f64) -> String {
    format!("missed by {} %", plain((by * 100.0).max(0.1)))
}

/// The middle value, or the mean of the two middle values.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let sorted = sorted(figures);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The median, with minimum and maximum in parentheses.
fn spread(figures: &[f64]) -> String {
    let sorted = sorted(figures);
    match sorted.as_slice() {
        [] => "-".to_owned(),
        [only] => plain(*only),
        [least, .., most] => format!("{} ({}..{})", plain(median(figures)), plain(*least), plain(*most)),
    }
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Formats a number with sufficient decimals and with thousands separators.
pub(crate) fn plain(number: f64) -> String {
    if number.abs() < 100.0 {
        let text = format!("{number:.*}", if number.abs() < 10.0 { 2 } else { 1 });
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{number:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
