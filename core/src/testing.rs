//! Tests of projections without a log or a database:
//!
//! ```
//! # use readcast_core::{Changes, ColumnType, Envelope, Projection, ProjectionError, TableSpec};
//! use readcast_core::testing::{event, given};
//! # struct Visits;
//! # impl Projection for Visits {
//! #     fn name(&self) -> &str { "visits" }
//! #     fn topics(&self) -> &[&str] { &["site"] }
//! #     fn event_types(&self) -> &[&str] { &["VISITED"] }
//! #     fn tables(&self) -> Vec<TableSpec> {
//! #         vec![TableSpec::new("visits").key("page", ColumnType::Text).with_default("count", ColumnType::I64, 0)]
//! #     }
//! #     fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
//! #         let page: String = event.data()?;
//! #         changes.upsert("visits", [page]).add("count", 1);
//! #         Ok(())
//! #     }
//! # }
//!
//! given(Visits, [event("VISITED", r#""/home""#), event("VISITED", r#""/home""#), event("LEFT", "{}")]).then(
//!     "visits",
//!     "page  | count
//!      /home | 2",
//! );
//! ```
//!
//! The events take the same path as in the service: they are decoded, projected and folded. The changes are applied
//! once as one batch and once event by event. Both must give the same rows.

use crate::{ChangeSet, Definition, Envelope, Model, Projection, Registry, Row, TableSpec, TopicPartition, Value};

/// The JSON text of an event in the plain form with this `data`, a JSON text. [`given`] fills in id and timestamp from
/// the event's index: `evt_0` at 2024-01-01T00:00:00Z, `evt_1` one second later, and so on.
pub fn event(event_type: &str, data: &str) -> String {
    format!(r#"{{"event_id":"evt_{PLACE}","type":"{event_type}","timestamp":"{TIME}","data":{data}}}"#)
}

const PLACE: &str = "{place}";
const TIME: &str = "{time}";

/// The tables of `projection` after these events, each the JSON text of one event. They come from one partition of the
/// projection's first topic. Events of types to which the projection does not subscribe are ignored.
///
/// # Panics
/// If the declaration is faulty, an event can't be decoded or projected, or the fold changes the result.
pub fn given<P: Projection, E: AsRef<str>>(projection: P, events: impl IntoIterator<Item = E>) -> Given {
    match try_given(projection, events) {
        Ok(given) => given,
        Err(error) => panic!("{error}"),
    }
}

/// As [`given`], but returns what makes an event poison.
///
/// # Errors
/// A text that names the event by its index and says what is wrong.
///
/// # Panics
/// If the fold changes the result.
pub fn try_given<P: Projection, E: AsRef<str>>(
    projection: P,
    events: impl IntoIterator<Item = E>,
) -> Result<Given, String> {
    let registry = Registry::new().register(projection);
    registry.validate().map_err(|error| error.to_string())?;
    let definition = &registry.definitions()[0];
    let partition = TopicPartition::new(definition.topics()[0], 0);
    let mut folded = ChangeSet::new();
    let mut one_by_one = Model::new(definition.tables().to_vec());
    for (place, json) in events.into_iter().enumerate() {
        let json = filled_in(place, json.as_ref());
        let position = partition.at(i64::try_from(place).expect("an offset has room for the number of events"));
        let event = Envelope::from_plain_json(position, None, json.as_bytes());
        let event = event.map_err(|error| format!("event {place}: {error}"))?;
        if definition.subscribes(&event.event_type) {
            let changes = definition.project(&event).map_err(|error| format!("event {place}: {error}"))?;
            for change in changes {
                one_by_one.apply_change(&change).map_err(|error| format!("event {place}: {error}"))?;
                folded.push(change, definition.tables());
            }
        }
    }
    let mut model = Model::new(definition.tables().to_vec());
    model.apply(&folded).map_err(|error| error.to_string())?;
    for (table, spec) in definition.tables().iter().enumerate() {
        let (together, alone) = (model.rows(table), one_by_one.rows(table));
        assert_eq!(
            together,
            alone,
            "table `{}`: the folded batch and the events one by one give different rows",
            spec.name()
        );
    }
    Ok(Given { definition: definition.clone(), model })
}

/// The text of an event with the id and the timestamp of its index.
fn filled_in(place: usize, json: &str) -> String {
    let (minutes, seconds) = (place / 60, place % 60);
    let time = format!("2024-01-01T{:02}:{:02}:{seconds:02}Z", minutes / 60, minutes % 60);
    json.replace(PLACE, &place.to_string()).replace(TIME, &time)
}

/// The tables of a projection after some events.
#[derive(Debug)]
pub struct Given {
    definition: Definition,
    model: Model,
}

impl Given {
    /// Checks that the table holds exactly these rows, in any order. The first line of `rows` names the columns to
    /// compare. Each further line is a row. `|` separates the cells, and `NULL` stands for NULL.
    ///
    /// # Panics
    /// If the rows differ. The message shows both as tables.
    #[track_caller]
    pub fn then(&self, table: &str, rows: &str) -> &Self {
        let mut lines = rows.lines().map(str::trim).filter(|line| !line.is_empty());
        let header = cells(lines.next().unwrap_or_default());
        let mut expected: Vec<Vec<String>> = lines.map(cells).collect();
        let mut found = self.found(table, &header);
        expected.sort();
        found.sort();
        assert!(
            expected == found,
            "table `{table}` differs\nexpected:\n{}\nfound:\n{}",
            aligned(&header, &expected),
            aligned(&header, &found)
        );
        self
    }

    /// Checks that the table is empty.
    ///
    /// # Panics
    /// If the table holds a row.
    #[track_caller]
    pub fn then_empty(&self, table: &str) -> &Self {
        let key = self.spec(table).1.key_columns()[0].name().to_owned();
        self.then(table, &key)
    }

    #[track_caller]
    fn spec(&self, table: &str) -> (usize, &TableSpec) {
        let tables = self.definition.tables().iter().enumerate();
        let found = tables.clone().find(|(_, spec)| spec.name() == table);
        found.unwrap_or_else(|| panic!("projection `{}` has no table `{table}`", self.definition.name()))
    }

    #[track_caller]
    fn found(&self, table: &str, header: &[String]) -> Vec<Vec<String>> {
        let (index, spec) = self.spec(table);
        let place = |name: &String| {
            let place = spec.columns().iter().position(|column| column.name() == name);
            place.unwrap_or_else(|| panic!("table `{table}` has no column `{name}`"))
        };
        let places: Vec<usize> = header.iter().map(place).collect();
        let shown = |(key, row): (&Vec<Value>, &Row)| {
            let values: Vec<&Value> = key.iter().chain(row).collect();
            places.iter().map(|place| values[*place].to_string()).collect()
        };
        self.model.rows(index).iter().map(shown).collect()
    }
}

fn cells(line: &str) -> Vec<String> {
    line.split('|').map(|cell| cell.trim().to_owned()).collect()
}

fn aligned(header: &[String], rows: &[Vec<String>]) -> String {
    let lines = || std::iter::once(header).chain(rows.iter().map(Vec::as_slice));
    let width = |place: usize| lines().filter_map(|line| line.get(place)).map(|cell| cell.chars().count()).max();
    let align = |line: &[String]| {
        let cells = line.iter().enumerate().map(|(place, cell)| format!("{cell:<0$}", width(place).unwrap_or(0)));
        format!("  {}\n", cells.collect::<Vec<_>>().join(" | ").trim_end())
    };
    lines().map(align).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Changes, ColumnType, ProjectionError};

    struct Notes;

    impl Projection for Notes {
        fn name(&self) -> &str {
            "notes"
        }

        fn topics(&self) -> &[&str] {
            &["notes"]
        }

        fn event_types(&self) -> &[&str] {
            &["NOTED"]
        }

        fn tables(&self) -> Vec<TableSpec> {
            vec![TableSpec::new("notes").key("id", ColumnType::Text).nullable("note", ColumnType::Text)]
        }

        fn project(&self, _: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
            changes.update("notes", ["a"]).set("note", "x");
            Ok(())
        }
    }

    #[test]
    fn two_updates_of_a_missing_row_change_nothing() {
        given(Notes, [event("NOTED", "{}"), event("NOTED", "{}")]).then_empty("notes");
    }
}
