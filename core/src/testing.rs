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
//! The events take the same path as in the service: they are decoded, projected and folded.
//!
//! **Every order that the log allows.** The events of one record key are in one partition, and their order is kept. Events
//! with different keys, or of different topics, may arrive in any order, and batches may be cut anywhere. [`given`] tries
//! these orders, and fails if one of them gives other rows. Give each event the key that its record has:
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
//! let visit = |visitor| event("VISITED", r#""/home""#).key(visitor);
//! given(Visits, [visit("ada"), visit("bo"), visit("ada")]).then("visits", "page | count\n /home | 3");
//! ```

mod event;
mod orders;
mod placed;
mod split_mix;

pub use event::{TestEvent, event};
pub use split_mix::SplitMix64;

use orders::check_orders;
use placed::PlacedEvent;

use crate::{Definition, Model, Projection, Registry, Row, TableSpec, Value};

/// The tables of `projection` after these events: [`TestEvent`]s, or the JSON texts of events. Events of types to which
/// the projection does not subscribe are ignored.
///
/// # Panics
/// If the declaration is faulty, an event can't be decoded or projected, or the rows depend on the order of events of
/// different partitions or on the batches. The message names the row, the events and their operations.
pub fn given<P: Projection, E: Into<TestEvent>>(projection: P, events: impl IntoIterator<Item = E>) -> Given {
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
/// If the rows depend on the order of events of different partitions or on the batches.
pub fn try_given<P: Projection, E: Into<TestEvent>>(
    projection: P,
    events: impl IntoIterator<Item = E>,
) -> Result<Given, String> {
    let registry = Registry::new().register(projection);
    registry.validate().map_err(|error| error.to_string())?;
    let (given, events) = in_given_order(&registry.definitions()[0], events.into_iter().map(Into::into).collect())?;
    check_orders(&given.definition, &events, &given.model).unwrap_or_else(|difference| panic!("{difference}"));
    Ok(given)
}

/// As [`given`], for a projection that is known when the program runs, and without a panic.
///
/// # Errors
/// What makes an event poison, or what differs in another order of the events.
pub fn check_given(definition: &Definition, events: Vec<TestEvent>) -> Result<Given, String> {
    let (given, events) = in_given_order(definition, events)?;
    check_orders(definition, &events, &given.model)?;
    Ok(given)
}

fn in_given_order(definition: &Definition, events: Vec<TestEvent>) -> Result<(Given, Vec<PlacedEvent>), String> {
    let events = placed::project(definition, events)?;
    let mut model = Model::new(definition.tables().to_vec());
    for PlacedEvent { index, changes, .. } in &events {
        for change in changes {
            model.apply_change(change).map_err(|error| format!("event {index}: {error}"))?;
        }
    }
    Ok((Given { definition: definition.clone(), model }, events))
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
        self.compare(table, rows).unwrap_or_else(|difference| panic!("{difference}"));
        self
    }

    /// As [`then`](Self::then), without a panic.
    ///
    /// # Errors
    /// Both tables, if they differ.
    pub fn compare(&self, table: &str, rows: &str) -> Result<(), String> {
        let mut lines = rows.lines().map(str::trim).filter(|line| !line.is_empty());
        let header = cells(lines.next().unwrap_or_default());
        let mut expected: Vec<Vec<String>> = lines.map(cells).collect();
        let mut found = self.found(table, &header)?;
        expected.sort();
        found.sort();
        if expected == found {
            return Ok(());
        }
        let (expected, found) = (aligned(&header, &expected), aligned(&header, &found));
        Err(format!("table `{table}` differs\nexpected:\n{expected}\nfound:\n{found}"))
    }

    /// The rows of the table, in the form of [`then`](Self::then), and the names of the columns that are left out of them
    /// because this form can't show a text in them: it has a `|`, a line break, or white space at an end.
    ///
    /// # Errors
    /// If the projection has no such table.
    pub fn rows(&self, table: &str) -> Result<(String, Vec<String>), String> {
        let (_, spec) = self.spec(table)?;
        let all: Vec<String> = spec.columns().iter().map(|column| column.name().to_owned()).collect();
        let found = self.found(table, &all)?;
        let is_shown = |place: usize| found.iter().all(|row| is_cell(&row[place]));
        let (shown, left_out): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|place| is_shown(*place));
        let named = |places: &[usize]| places.iter().map(|place| all[*place].clone()).collect::<Vec<_>>();
        let header = named(&shown);
        Ok((aligned(&header, &self.found(table, &header)?), named(&left_out)))
    }

    /// Checks that the table is empty.
    ///
    /// # Panics
    /// If the table holds a row.
    #[track_caller]
    pub fn then_empty(&self, table: &str) -> &Self {
        let (_, spec) = self.spec(table).unwrap_or_else(|error| panic!("{error}"));
        self.then(table, spec.key_columns()[0].name())
    }

    fn spec(&self, table: &str) -> Result<(usize, &TableSpec), String> {
        let mut tables = self.definition.tables().iter().enumerate();
        let found = tables.find(|(_, spec)| spec.name() == table);
        found.ok_or_else(|| format!("projection `{}` has no table `{table}`", self.definition.name()))
    }

    fn found(&self, table: &str, header: &[String]) -> Result<Vec<Vec<String>>, String> {
        let (index, spec) = self.spec(table)?;
        let place = |name: &String| {
            let place = spec.columns().iter().position(|column| column.name() == name);
            place.ok_or_else(|| format!("table `{table}` has no column `{name}`"))
        };
        let places = header.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let shown = |(key, row): (&Vec<Value>, &Row)| {
            let values: Vec<&Value> = key.iter().chain(row).collect();
            places.iter().map(|place| values[*place].to_string()).collect()
        };
        Ok(self.model.rows(index).iter().map(shown).collect())
    }
}

fn cells(line: &str) -> Vec<String> {
    line.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// Whether [`cells`] reads the text as it is.
fn is_cell(text: &str) -> bool {
    text.trim() == text && !text.contains(['|', '\n'])
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
mod tests;
