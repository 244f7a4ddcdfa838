//! Finds rows that depend on the order between partitions: several partitions change them, by operations that give another
//! row in another order. A log has no order between its partitions, so such rows differ from rebuild to rebuild.

mod sample;
mod touch;

use std::collections::{BTreeMap, BTreeSet};

use readcast_core::{Change, Key, RowChange, TableSpec, TopicPartition, Value};

use self::sample::Sample;
use self::touch::{REPLACE, SEARCH, Touch, digest, place, touches};

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
    /// How many of the rows that were audited.
    pub rows: u64,
    /// Two operations on one of the rows, with their partitions. No data of a row.
    pub operations: String,
    /// The keys of some of the rows.
    pub keys: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct TableAudit {
    rows: Sample<RowAudit>,
    /// The partitions that replace all rows below a key.
    replaced: Sample<BTreeSet<u16>>,
    /// The partitions that change rows found by the value of a column.
    searches: BTreeMap<(u16, u32), BTreeSet<u16>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct RowAudit {
    touches: Vec<Touch>,
    conflict: Option<(Touch, Touch)>,
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
                Change::ReplaceChildren { parent, rows, .. } => {
                    table.replaced.entry(parent).into_iter().for_each(|known| known.extend([partition]));
                    for (key, _) in rows {
                        table.rows.entry(key).into_iter().for_each(|row| row.add(Touch::of_row(REPLACE, partition)));
                    }
                }
                Change::Where { column, value, .. } => {
                    table.searches.entry((place(*column), digest(value))).or_default().insert(partition);
                }
            }
        }
    }

    /// Adds what was found in other partitions, or later.
    pub fn append(&mut self, other: Self) {
        let index: Vec<u16> = other.partitions.iter().map(|partition| self.index_of(partition)).collect();
        let moved = |touch: Touch| Touch { partition: index[usize::from(touch.partition)], ..touch };
        let all_moved = |of: BTreeSet<u16>| of.into_iter().map(|partition| index[usize::from(partition)]);
        for (place, table) in other.tables {
            let held = self.tables.entry(place).or_default();
            for ((_, key), row) in table.rows.0 {
                let Some(audit) = held.rows.entry(&key) else { continue };
                row.touches.into_iter().for_each(|touch| audit.add(moved(touch)));
                audit.conflict = audit.conflict.or(row.conflict.map(|(one, another)| (moved(one), moved(another))));
            }
            for ((_, parent), partitions) in table.replaced.0 {
                held.replaced.entry(&parent).into_iter().for_each(|known| known.extend(all_moved(partitions.clone())));
            }
            for (search, partitions) in table.searches {
                held.searches.entry(search).or_default().extend(all_moved(partitions));
            }
        }
    }

    /// What depends on the order, table by table.
    pub fn conclude(&self, tables: &[TableSpec]) -> Vec<OrderDependence> {
        let concluded =
            self.tables.iter().filter_map(|(place, audit)| audit.conclude(&tables[*place], &self.partitions));
        concluded.collect()
    }

    fn index_of(&mut self, partition: &TopicPartition) -> u16 {
        let known = self.partitions.iter().position(|known| known == partition);
        place(known.unwrap_or_else(|| {
            self.partitions.push(partition.clone());
            self.partitions.len() - 1
        }))
    }
}

impl TableAudit {
    fn add_row(&mut self, key: &Key, change: &RowChange, partition: u16) {
        let (operation, cells) = match change {
            RowChange::Upsert(cells) => ("upsert", Some(cells)),
            RowChange::Update(cells) => ("update", Some(cells)),
            RowChange::Delete => ("delete", None),
        };
        if let Some(row) = self.rows.entry(key) {
            row.add(Touch::of_row(operation, partition));
            cells.into_iter().flat_map(|cells| touches(cells, partition)).for_each(|touch| row.add(touch));
        }
    }

    fn conclude(&self, table: &TableSpec, partitions: &[TopicPartition]) -> Option<OrderDependence> {
        let of_row = |((_, key), row): (&'_ (u64, Key), &RowAudit)| Some((key.clone(), self.conflict(key, row)?));
        let mut dependent: Vec<(Key, (Touch, Touch))> = self.rows.0.iter().filter_map(of_row).collect();
        dependent.sort_by(|(one, _), (another, _)| one.cmp(another));
        let (_, (one, another)) = dependent.first()?;
        let operations = format!("{} and {}", one.described(table, partitions), another.described(table, partitions));
        let named = |(key, _): &(Key, _)| key.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        let keys = dependent.iter().take(MOST_NAMED).map(named).collect();
        Some(OrderDependence { table: table.name().to_owned(), rows: dependent.len() as u64, operations, keys })
    }

    /// Two operations on the row that don't commute.
    fn conflict(&self, key: &Key, row: &RowAudit) -> Option<(Touch, Touch)> {
        row.conflict.or_else(|| self.search_of(row)).or_else(|| self.replacement_of(key, row))
    }

    /// A search of another partition that finds the row by a value that was set.
    fn search_of(&self, row: &RowAudit) -> Option<(Touch, Touch)> {
        row.touches.iter().find_map(|held| {
            let searching = self.searches.get(&(held.column, held.value))?;
            let partition = *searching.iter().find(|partition| **partition != held.partition)?;
            Some((*held, Touch { operation: SEARCH, partition, ..*held }))
        })
    }

    /// A replacement of all rows below a parent of the row, by another partition.
    fn replacement_of(&self, key: &Key, row: &RowAudit) -> Option<(Touch, Touch)> {
        (1..key.len()).find_map(|length| {
            self.replaced.get(&key[..length])?.iter().find_map(|partition| {
                let other = row.touches.iter().find(|touch| touch.partition != *partition)?;
                Some((*other, Touch::of_row(REPLACE, *partition)))
            })
        })
    }
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
