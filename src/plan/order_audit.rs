//! Finds rows that depend on the order between partitions: several partitions change them, by operations that give another
//! row in another order. A log has no order between its partitions, so such rows differ from rebuild to rebuild.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use readcast_core::{Cell, Cells, Change, Key, RowChange, TableSpec, TopicPartition, Value};

/// How many rows of a table are audited: the first ones that are changed. The counts of larger tables are too low.
const MOST_ROWS: usize = 20_000;
/// How many keys a finding names.
const MOST_NAMED: usize = 3;

/// The operations on the rows of a log, as far as they show which rows depend on the order between partitions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OrderAudit {
    partitions: Vec<TopicPartition>,
    tables: BTreeMap<usize, TableAudit>,
}

/// Rows of one table that depend on the order between partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderDependence {
    /// The table's name.
    pub table: String,
    /// How many rows were found. There may be more.
    pub rows: u64,
    /// Two operations on one of the rows, with their partitions. No data of a row.
    pub operations: String,
    /// The keys of the first of the rows.
    pub keys: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct TableAudit {
    rows: BTreeMap<Key, RowAudit>,
    /// The partitions that change rows found by the value of a column.
    searches: BTreeMap<(usize, u64), BTreeSet<usize>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct RowAudit {
    touches: Vec<Touch>,
    conflict: Option<(Touch, Touch)>,
}

/// An operation on a row or on one of its cells.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Touch {
    /// The index of the data column; `None` for the row itself.
    column: Option<usize>,
    operation: &'static str,
    /// A digest of the value that is set.
    value: u64,
    /// The index of the partition.
    partition: usize,
}

const REPLACE: &str = "replace_children";
const SEARCH: &str = "update_where";

impl Touch {
    /// Whether both operations give the same row in either order.
    fn commutes_with(&self, other: &Touch) -> bool {
        if self.partition == other.partition || self.column != other.column {
            return true;
        }
        match (self.operation, other.operation) {
            ("set", "set") => self.value == other.value,
            ("append", "append") | (REPLACE, REPLACE) => false,
            (one, another) => one == another,
        }
    }

    fn described(&self, table: &TableSpec, partitions: &[TopicPartition]) -> String {
        let column = self.column.map(|column| format!(" {}", table.data_columns()[column].name())).unwrap_or_default();
        format!("`{}{column}` from {}", self.operation, partitions[self.partition])
    }
}

impl RowAudit {
    fn add(&mut self, touch: Touch) {
        if self.conflict.is_some() {
            return;
        }
        self.conflict = self.touches.iter().find(|held| !held.commutes_with(&touch)).map(|held| (*held, touch));
        let is_known = |held: &&mut Touch| {
            (held.column, held.operation, held.partition) == (touch.column, touch.operation, touch.partition)
        };
        match self.touches.iter_mut().find(is_known) {
            Some(held) => *held = touch,
            None => self.touches.push(touch),
        }
    }
}

impl OrderAudit {
    /// Adds the changes of one event of a partition.
    pub fn add(&mut self, partition: &TopicPartition, changes: &[Change]) {
        let partition = self.index_of(partition);
        for change in changes {
            let table = self.tables.entry(change.table()).or_default();
            match change {
                Change::Row { key, change, .. } => table.add_row(key, change, partition),
                Change::ReplaceChildren { parent, rows, .. } => table.replace(parent, rows, partition),
                Change::Where { column, value, .. } => {
                    table.searches.entry((*column, digest(value))).or_default().insert(partition);
                }
            }
        }
    }

    /// Adds what was found in other partitions, or later.
    pub fn append(&mut self, other: Self) {
        let index: Vec<usize> = other.partitions.iter().map(|partition| self.index_of(partition)).collect();
        for (place, table) in other.tables {
            let held = self.tables.entry(place).or_default();
            for (key, row) in table.rows {
                let Some(audit) = held.row(&key) else { continue };
                row.touches
                    .into_iter()
                    .for_each(|touch| audit.add(Touch { partition: index[touch.partition], ..touch }));
                let moved = |touch: Touch| Touch { partition: index[touch.partition], ..touch };
                audit.conflict = audit.conflict.or(row.conflict.map(|(one, another)| (moved(one), moved(another))));
            }
            for (search, partitions) in table.searches {
                held.searches
                    .entry(search)
                    .or_default()
                    .extend(partitions.into_iter().map(|partition| index[partition]));
            }
        }
    }

    /// What depends on the order, table by table.
    pub fn conclude(&self, tables: &[TableSpec]) -> Vec<OrderDependence> {
        let concluded =
            self.tables.iter().filter_map(|(place, audit)| audit.conclude(&tables[*place], &self.partitions));
        concluded.collect()
    }

    fn index_of(&mut self, partition: &TopicPartition) -> usize {
        self.partitions.iter().position(|known| known == partition).unwrap_or_else(|| {
            self.partitions.push(partition.clone());
            self.partitions.len() - 1
        })
    }
}

impl TableAudit {
    fn row(&mut self, key: &[Value]) -> Option<&mut RowAudit> {
        if self.rows.len() >= MOST_ROWS && !self.rows.contains_key(key) {
            return None;
        }
        Some(self.rows.entry(key.to_vec()).or_default())
    }

    fn add_row(&mut self, key: &Key, change: &RowChange, partition: usize) {
        let Some(row) = self.row(key) else { return };
        let (operation, cells) = match change {
            RowChange::Upsert(cells) => ("upsert", Some(cells)),
            RowChange::Update(cells) => ("update", Some(cells)),
            RowChange::Delete => ("delete", None),
        };
        row.add(Touch { column: None, operation, value: 0, partition });
        cells.into_iter().flat_map(|cells| touches(cells, partition)).for_each(|touch| row.add(touch));
    }

    fn replace(&mut self, parent: &Key, rows: &[(Key, readcast_core::Row)], partition: usize) {
        let replaces = Touch { column: None, operation: REPLACE, value: 0, partition };
        if let Some(row) = self.row(parent) {
            row.add(replaces);
        }
        for (key, _) in rows {
            if let Some(row) = self.row(key) {
                row.add(replaces);
            }
        }
    }

    fn conclude(&self, table: &TableSpec, partitions: &[TopicPartition]) -> Option<OrderDependence> {
        let mut dependent = self.rows.iter().filter_map(|(key, row)| Some((key, self.conflict(key, row)?)));
        let (first, (one, another)) = dependent.next()?;
        let operations = format!("{} and {}", one.described(table, partitions), another.described(table, partitions));
        let named = |key: &Key| key.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        let (mut keys, mut rows) = (vec![named(first)], 1);
        for (key, _) in dependent {
            rows += 1;
            if keys.len() < MOST_NAMED {
                keys.push(named(key));
            }
        }
        Some(OrderDependence { table: table.name().to_owned(), rows, operations, keys })
    }

    /// Two operations on the row that don't commute.
    fn conflict(&self, key: &Key, row: &RowAudit) -> Option<(Touch, Touch)> {
        row.conflict.or_else(|| self.search_of(row)).or_else(|| self.replacement_of(key, row))
    }

    /// A search of another partition that finds the row by a value that was set.
    fn search_of(&self, row: &RowAudit) -> Option<(Touch, Touch)> {
        row.touches.iter().find_map(|held| {
            let searching = self.searches.get(&(held.column?, held.value))?;
            let partition = *searching.iter().find(|partition| **partition != held.partition)?;
            Some((*held, Touch { operation: SEARCH, partition, ..*held }))
        })
    }

    /// A replacement of all rows below a parent of the row, by another partition.
    fn replacement_of(&self, key: &Key, row: &RowAudit) -> Option<(Touch, Touch)> {
        (1..key.len()).find_map(|length| {
            let mut replacing =
                self.rows.get(&key[..length])?.touches.iter().filter(|touch| touch.operation == REPLACE);
            replacing.find_map(|replacing| {
                let other = row.touches.iter().find(|touch| touch.partition != replacing.partition)?;
                Some((*other, *replacing))
            })
        })
    }
}

fn touches(cells: &Cells, partition: usize) -> impl Iterator<Item = Touch> {
    let touch = move |(column, cell): (usize, &Option<Cell>)| {
        let cell = cell.as_ref()?;
        let value = if let Cell::Set(value) = cell { digest(value) } else { 0 };
        Some(Touch { column: Some(column), operation: cell.operation(), value, partition })
    };
    cells.as_slice().iter().enumerate().filter_map(touch)
}

fn digest(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    match value {
        Value::Text(text) => text.hash(&mut hasher),
        Value::I64(number) => number.hash(&mut hasher),
        other => other.to_string().hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use readcast_core::{Changes, ColumnType};

    use super::*;

    fn tables() -> [TableSpec; 2] {
        let accounts = TableSpec::new("accounts")
            .key("id", ColumnType::Text)
            .nullable("owner_id", ColumnType::I64)
            .nullable("name", ColumnType::Text)
            .with_default("balance", ColumnType::I64, 0);
        let lines = TableSpec::new("lines").key("order", ColumnType::Text).key("line", ColumnType::I64);
        [accounts, lines.nullable("sku", ColumnType::Text)]
    }

    /// An event of a partition.
    type Event = (i32, fn(&mut Changes<'_>));

    /// What is found, whichever planner reads which partition.
    fn found(events: &[Event]) -> Vec<String> {
        let tables = tables();
        let audited = |of: &dyn Fn(i32) -> bool| {
            let mut audit = OrderAudit::default();
            for (partition, write) in events.iter().filter(|(partition, _)| of(*partition)) {
                let mut changes = Changes::new(&tables);
                write(&mut changes);
                audit.add(&TopicPartition::new("t", *partition), &changes.finish().expect("valid changes"));
            }
            audit
        };
        let sentence = |found: OrderDependence| {
            format!("{} {}: {} ({})", found.rows, found.table, found.operations, found.keys.join("; "))
        };
        let alone: Vec<String> = audited(&|_| true).conclude(&tables).into_iter().map(sentence).collect();
        let mut merged = audited(&|partition| partition == 0);
        merged.append(audited(&|partition| partition != 0));
        let merged = merged.conclude(&tables);
        assert_eq!(merged.len(), alone.len(), "{merged:?}");
        alone
    }

    #[test]
    fn operations_that_commute_and_those_of_one_partition_are_no_finding() {
        let events: &[Event] = &[
            (0, |changes| {
                changes.upsert("accounts", ["a"]).add("balance", 1).set("owner_id", 7);
            }),
            (1, |changes| {
                changes.upsert("accounts", ["a"]).add("balance", 2).set("owner_id", 7);
            }),
            (0, |changes| {
                changes.upsert("accounts", ["b"]).set("name", "x");
            }),
            (0, |changes| {
                changes.update("accounts", ["b"]).set("name", "y");
            }),
            (1, |changes| {
                changes.upsert("accounts", ["c"]).set("name", "z");
            }),
            (0, |changes| {
                changes.update_where("accounts", "owner_id", 8).set("name", "z");
            }),
        ];
        assert_eq!(found(events), Vec::<String>::new());
    }

    #[test]
    fn operations_of_several_partitions_that_do_not_commute_are_named() {
        for (one, another, expected) in [
            (
                (
                    0,
                    (|changes| {
                        changes.upsert("accounts", ["a"]).set("name", "x");
                    }) as fn(&mut Changes<'_>),
                ),
                (
                    1,
                    (|changes| {
                        changes.upsert("accounts", ["a"]).set("name", "y");
                    }) as fn(&mut Changes<'_>),
                ),
                "1 accounts: `set name` from t/0 and `set name` from t/1 (a)",
            ),
            (
                (0, |changes| {
                    changes.upsert("accounts", ["a"]).add("balance", 1);
                }),
                (1, |changes| {
                    changes.update("accounts", ["a"]).add("balance", 1);
                }),
                "1 accounts: `upsert` from t/0 and `update` from t/1 (a)",
            ),
            (
                (0, |changes| {
                    changes.upsert("accounts", ["a"]).set("owner_id", 7);
                }),
                (1, |changes| {
                    changes.update_where("accounts", "owner_id", 7).set("name", "y");
                }),
                "1 accounts: `set owner_id` from t/0 and `update_where owner_id` from t/1 (a)",
            ),
        ] {
            assert_eq!(found(&[one, another]), [expected]);
            assert_eq!(found(&[another, one]).len(), 1, "in the other order");
        }
    }

    #[test]
    fn rows_below_a_replaced_parent_are_of_its_partition() {
        let replace: fn(&mut Changes<'_>) =
            |changes| changes.replace_children("lines", ["o"], [vec![Value::from(1_i64), Value::from("x")]]);
        let line: fn(&mut Changes<'_>) = |changes| {
            changes.upsert("lines", [Value::from("o"), Value::from(2_i64)]).set("sku", "y");
        };
        assert_eq!(found(&[(0, replace), (0, line)]), Vec::<String>::new());
        for events in [[(0, replace), (1, line)], [(1, line), (0, replace)]] {
            assert!(found(&events)[0].contains("`replace_children`"), "{:?}", found(&events));
        }
        assert_eq!(found(&[(0, replace), (1, replace)]).len(), 1);
    }
}
