//! The comparison of two generations of a projection at equal checkpoints, and the objections to a swap that follow
//! from it. No I/O.

use std::fmt;

use readcast_core::{Presence, Shown, TableSpec, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::text::counted;

/// The maximum number of differing rows that are sampled for each table.
pub(super) const MOST_SAMPLES: usize = 10;

/// The maximum number of differing columns of a row that are displayed.
const MOST_COLUMNS: usize = 20;

/// The comparison of another generation with the live one, both at the same position in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The position of both generations, by partition.
    pub at: Vec<ComparedPlace>,
    /// The tables that one or both of them have.
    pub tables: Vec<TableComparison>,
}

/// The position of both generations in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedPlace {
    /// The name of the partition's topic.
    pub topic: String,
    /// The number of the partition in the topic.
    pub partition: i32,
    /// The next offset of both generations.
    pub next_offset: i64,
}

impl ComparedPlace {
    /// The position `next_offset` in `partition`.
    pub fn new(partition: &TopicPartition, next_offset: i64) -> Self {
        Self { topic: partition.topic.to_string(), partition: partition.partition, next_offset }
    }
}

/// The comparison of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableComparison {
    /// The stable name of the table.
    pub table: String,
    /// The number of rows of the live generation. `None` if it lacks the table.
    pub live_rows: Option<u64>,
    /// The number of rows of the other generation. `None` if it lacks the table.
    pub other_rows: Option<u64>,
    /// A digest of the live generation's rows in hexadecimal, independent of their order.
    pub live_digest: Option<String>,
    /// The digest of the other generation's rows. Tables with equal columns and equal rows have equal digests.
    pub other_digest: Option<String>,
    /// The number of rows whose key only the live generation has.
    pub only_live: u64,
    /// The number of rows whose key only the other generation has.
    pub only_other: u64,
    /// The number of rows that both have and that differ in a common column.
    pub changed: u64,
    /// The first of the differing rows, ordered by key.
    pub samples: Vec<Sample>,
    /// The columns that were compared: both tables have them with the same type. Empty if the keys differ, so that the
    /// rows can't be matched.
    pub compared: Vec<String>,
}

/// A row that differs between the two generations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The values of the row's key columns, as text.
    pub key: Vec<String>,
    /// How the row differs.
    pub difference: Difference,
}

/// How a row differs between the two generations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// Only the live generation has the row.
    OnlyLive,
    /// Only the other generation has the row.
    OnlyOther,
    /// Both have the row, and these columns differ.
    Changed(Vec<String>),
}

impl TableComparison {
    /// The number of rows that differ.
    pub fn differences(&self) -> u64 {
        self.only_live + self.only_other + self.changed
    }
}

impl Comparison {
    /// Whether all rows of all tables are equal.
    pub fn is_equal(&self) -> bool {
        let same = |table: &TableComparison| {
            table.differences() == 0
                && table.live_rows == table.other_rows
                && table.live_digest == table.other_digest
                && !table.compared.is_empty()
        };
        self.tables.iter().all(same)
    }

    /// The reasons why the other generation must not become live unless an operator accepts the differences.
    ///
    /// The same definition makes the same rows of the same log. So any difference is a fault: wrong live rows, or a
    /// projection that is not a pure function. After a change of the definition rows may differ. But a table that is
    /// empty, or has lost more than `max_row_loss_percent` of its rows, is more likely a mistake.
    pub fn objections(&self, same_definition: bool, max_row_loss_percent: u64) -> Vec<String> {
        if same_definition {
            let differing = self.tables.iter().filter(|table| !Comparison::of(table).is_equal());
            return differing
                .map(|table| format!("the definition did not change, but {table}: that is a fault"))
                .collect();
        }
        let objection = |table: &TableComparison| {
            let (live, other) = (table.live_rows?, table.other_rows?);
            let lost = live.saturating_sub(other);
            if live > 0 && other == 0 {
                Some(format!("table `{}` came out empty; it has {live} rows now", table.table))
            } else if lost * 100 > live * max_row_loss_percent {
                let name = &table.table;
                Some(format!("table `{name}` lost {lost} of {live} rows, more than {max_row_loss_percent} %"))
            } else {
                None
            }
        };
        self.tables.iter().filter_map(objection).collect()
    }

    fn of(table: &TableComparison) -> Self {
        Self { at: Vec::new(), tables: vec![table.clone()] }
    }
}

impl fmt::Display for TableComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table `{}`", self.table)?;
        match (self.live_rows, self.other_rows) {
            (Some(_), None) => write!(f, " is no longer there"),
            (None, Some(rows)) => write!(f, " is new, with {}", counted(rows, "row")),
            (None, None) => Ok(()),
            (Some(live), Some(other)) if self.compared.is_empty() => {
                write!(f, " had {} and has {other}; its key changed, so they can't be matched", counted(live, "row"))
            }
            (Some(_), Some(_)) if self.differences() == 0 && self.live_digest != self.other_digest => {
                write!(f, " has the same rows in other columns")
            }
            (Some(_), Some(rows)) if self.differences() == 0 => write!(f, " has the same {}", counted(rows, "row")),
            (Some(_), Some(_)) => write!(
                f,
                " differs in {} ({} only in the live generation, {} only in the other, {} changed)",
                counted(self.differences(), "row"),
                self.only_live,
                self.only_other,
                self.changed
            ),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key.join(", "))?;
        match &self.difference {
            Difference::OnlyLive => f.write_str("only in the live generation"),
            Difference::OnlyOther => f.write_str("only in the other generation"),
            Difference::Changed(columns) if columns.len() > MOST_COLUMNS => {
                let first = columns[..MOST_COLUMNS].join(", ");
                write!(f, "{first} and {} more columns differ", columns.len() - MOST_COLUMNS)
            }
            Difference::Changed(columns) if columns.len() == 1 => write!(f, "{} differs", columns[0]),
            Difference::Changed(columns) => write!(f, "{} differ", columns.join(", ")),
        }
    }
}

/// What has a stable name.
pub(super) trait Named {
    fn name(&self) -> &str;
}

impl Named for TableSpec {
    fn name(&self) -> &str {
        self.name()
    }
}

impl Named for Shown<'_> {
    fn name(&self) -> &str {
        self.name
    }
}

/// A table, or what else readers see, of two generations; at least one of them has it.
pub(super) struct Pair<'a, T = TableSpec> {
    pub(super) name: &'a str,
    pub(super) live: Option<&'a T>,
    pub(super) other: Option<&'a T>,
}

/// What two generations have, paired by name.
pub(super) fn pairs<'a, T: Named>(live: &'a [T], other: &'a [T]) -> Vec<Pair<'a, T>> {
    let find = |tables: &'a [T], name: &str| tables.iter().find(|table| table.name() == name);
    let gone = live.iter().filter(|table| find(other, table.name()).is_none());
    let gone = gone.map(|table| Pair { name: table.name(), live: Some(table), other: None });
    let now = other.iter().map(|table| Pair { name: table.name(), live: find(live, table.name()), other: Some(table) });
    gone.chain(now).collect()
}

impl<'a> Pair<'a> {
    /// Both tables, if their rows can be matched: the keys have the same names and types.
    pub(super) fn matched(&self) -> Option<(&'a TableSpec, &'a TableSpec)> {
        let (live, other) = (self.live?, self.other?);
        let key = |table: &'a TableSpec| table.key_columns().iter().map(|column| (column.name(), column.column_type()));
        key(live).eq(key(other)).then_some((live, other))
    }

    /// Whether equal digests prove that all rows are equal, so that the rows need no comparison: both digests are of
    /// the same columns in the same order.
    pub(super) fn digests_agree(&self, compared: &TableComparison) -> bool {
        let (Some(live), Some(other)) = (self.live, self.other) else { return false };
        let columns = |table: &'a TableSpec| table.columns().iter().map(|column| (column.name(), column.column_type()));
        columns(live).eq(columns(other))
            && compared.live_rows == compared.other_rows
            && compared.live_digest == compared.other_digest
    }

    /// The data columns that both tables have with the same type.
    pub(super) fn common(&self) -> Vec<&'a str> {
        let Some((live, other)) = self.matched() else { return Vec::new() };
        let has = |name: &str, column_type| {
            other.data_columns().iter().any(|column| column.name() == name && column.column_type() == column_type)
        };
        let columns = live.data_columns().iter().filter(|column| has(column.name(), column.column_type()));
        columns.map(|column| column.name()).collect()
    }

    /// The columns that a copy of the live rows takes over, the key first, or the reason why these columns would not
    /// make a row of the other table. `None` if one of the generations lacks the table.
    pub(super) fn copied(&self) -> Option<Result<Vec<&'a str>, String>> {
        let (live, other) = (self.live?, self.other?);
        let refused = |what: String| Some(Err(format!("table `{}`: {what}", self.name)));
        if self.matched().is_none() {
            return refused("its key changed".into());
        }
        let mut copied = Vec::new();
        for column in other.columns() {
            match live.columns().iter().find(|before| before.name() == column.name()) {
                Some(before) if before.column_type() == column.column_type() => copied.push(column.name()),
                Some(_) => return refused(format!("the type of column `{}` changed", column.name())),
                None if *column.presence() == Presence::Required => {
                    return refused(format!(
                        "nothing is known of its column `{}`, which has no default",
                        column.name()
                    ));
                }
                None => {}
            }
        }
        Some(Ok(copied))
    }

    /// All columns that were compared, the key first.
    pub(super) fn compared(&self) -> Vec<String> {
        let Some((live, _)) = self.matched() else { return Vec::new() };
        let key = live.key_columns().iter().map(|column| column.name());
        key.chain(self.common()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(live: u64, other: u64, changed: u64) -> TableComparison {
        TableComparison {
            table: "t".into(),
            live_rows: Some(live),
            other_rows: Some(other),
            only_live: live.saturating_sub(other),
            only_other: other.saturating_sub(live),
            changed,
            compared: vec!["id".into()],
            ..TableComparison::default()
        }
    }

    fn comparison(table: TableComparison) -> Comparison {
        Comparison { at: Vec::new(), tables: vec![table] }
    }

    #[test]
    fn with_the_same_definition_any_difference_is_a_fault() {
        assert!(comparison(table(9, 9, 0)).objections(true, 5).is_empty());
        for differing in [table(9, 9, 1), table(9, 10, 0), table(10, 9, 0)] {
            let objections = comparison(differing).objections(true, 5);
            assert!(objections[0].contains("that is a fault"), "{objections:?}");
        }
        let digest = |digest: &str| Some(digest.to_owned());
        let altered = TableComparison { live_digest: digest("a"), other_digest: digest("b"), ..table(9, 9, 0) };
        assert_eq!(comparison(altered).objections(true, 5).len(), 1);
    }

    #[test]
    fn of_many_columns_that_differ_the_first_are_named() {
        let sample = |columns: usize| Sample {
            key: vec!["k".into()],
            difference: Difference::Changed((0..columns).map(|place| format!("f{place}")).collect()),
        };
        assert_eq!(sample(2).to_string(), "k: f0, f1 differ");
        assert!(sample(20).to_string().ends_with("f18, f19 differ"));
        assert!(sample(1_599).to_string().ends_with("f18, f19 and 1579 more columns differ"));
    }

    #[test]
    fn after_a_change_rows_may_differ_but_not_vanish() {
        assert!(comparison(table(100, 100, 100)).objections(false, 5).is_empty());
        assert!(comparison(table(100, 95, 0)).objections(false, 5).is_empty());
        assert!(comparison(table(0, 0, 0)).objections(false, 5).is_empty());
        assert!(comparison(table(100, 94, 0)).objections(false, 5)[0].contains("lost 6 of 100"));
        assert!(comparison(table(3, 0, 0)).objections(false, 100)[0].contains("empty"));
    }
}
