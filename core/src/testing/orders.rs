//! The orders of the events of a test that a log allows: the order within each partition is kept, and no other.

use std::collections::BTreeMap;

use super::SplitMix64;
use super::placed::PlacedEvent;
use crate::{Cell, Cells, Change, ChangeSet, Definition, Key, Model, RowChange, TableSpec, TopicPartition};

/// With no more orders than this, all of them are tried, otherwise this many random ones.
const MAX_ORDERS: usize = 200;

/// An order of the events, by their places in the list.
type Order = Vec<usize>;

/// Checks that every order of the events gives the rows of `expected`, which those of the given order are.
///
/// # Errors
/// What differs, if one does not.
pub(super) fn check_orders(definition: &Definition, events: &[PlacedEvent], expected: &Model) -> Result<(), String> {
    let seed = seed(events);
    let mut random = SplitMix64::new(seed);
    let given: Order = (0..events.len()).collect();
    let partitions = partitions(events);
    let orders = match number_of_orders(&partitions) {
        Some(few) => all_orders(partitions, few),
        None => (0..MAX_ORDERS).map(|_| random_order(partitions.clone(), &mut random)).collect(),
    };
    for (number, order) in orders.iter().enumerate() {
        let model = one_by_one(definition, events, order)?;
        if let Some(difference) = difference(definition, &model, expected) {
            return Err(explain(definition, events, &given, order, difference.table)?);
        }
        // One order as a whole, the others cut at random.
        let cut = |rest: usize| if number == 0 { rest } else { 1 + below(&mut random, rest) };
        let in_batches = in_batches(definition, events, order, cut)?;
        if let Some(Difference { table, .. }) = self::difference(definition, &in_batches, expected) {
            let name = definition.tables()[table].name();
            return Err(format!(
                "table `{name}`: batches of events and the events one by one give different rows (seed {seed})"
            ));
        }
    }
    Ok(())
}

/// The places of the events of each partition, the last one first.
fn partitions(events: &[PlacedEvent]) -> Vec<Order> {
    let mut partitions = BTreeMap::<&TopicPartition, Order>::new();
    for (place, event) in events.iter().enumerate().rev() {
        partitions.entry(&event.partition).or_default().push(place);
    }
    partitions.into_values().collect()
}

/// The number of orders, if it is not above [`MAX_ORDERS`]: the multinomial coefficient of the partitions' lengths.
fn number_of_orders(partitions: &[Order]) -> Option<usize> {
    let (mut orders, mut placed) = (1, 0);
    for length in partitions.iter().map(Vec::len) {
        for number in 1..=length {
            placed += 1;
            // A binomial coefficient after each step, so the division is exact.
            orders = orders * placed / number;
            if orders > MAX_ORDERS {
                return None;
            }
        }
    }
    Some(orders)
}

fn all_orders(partitions: Vec<Order>, number: usize) -> Vec<Order> {
    let mut orders = vec![(Order::new(), partitions)];
    while orders[0].1.iter().any(|rest| !rest.is_empty()) {
        orders = orders.into_iter().flat_map(|(order, rest)| one_more(&order, &rest)).collect();
    }
    debug_assert_eq!(orders.len(), number);
    orders.into_iter().map(|(order, _)| order).collect()
}

/// The order with each event that may be the next, and what is left of the partitions.
fn one_more(order: &Order, rest: &[Order]) -> Vec<(Order, Vec<Order>)> {
    let with = |partition: usize| {
        let mut rest = rest.to_vec();
        let next = rest[partition].pop()?;
        Some(([order.as_slice(), &[next]].concat(), rest))
    };
    (0..rest.len()).filter_map(with).collect()
}

fn one_by_one(definition: &Definition, events: &[PlacedEvent], order: &[usize]) -> Result<Model, String> {
    let mut model = Model::new(definition.tables().to_vec());
    for place in order {
        for change in &events[*place].changes {
            let applied = model.apply_change(change);
            applied.map_err(|error| format!("in another order of the events: {error}"))?;
        }
    }
    Ok(model)
}

/// The tables after batches, the next of which has as many events as `cut` says of the number of events that are left.
fn in_batches(
    definition: &Definition,
    events: &[PlacedEvent],
    order: &[usize],
    mut cut: impl FnMut(usize) -> usize,
) -> Result<Model, String> {
    let mut model = Model::new(definition.tables().to_vec());
    let mut rest = order;
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(cut(rest.len()));
        let mut changes = ChangeSet::new();
        for change in batch.iter().flat_map(|place| &events[*place].changes) {
            changes.push(change.clone(), definition.tables());
        }
        model.apply(&changes).map_err(|error| format!("in another order of the events: {error}"))?;
        rest = after;
    }
    Ok(model)
}

/// A row that two models have differently.
struct Difference {
    table: usize,
    key: Key,
    /// The first data column that differs. `None` if one of the models has no such row.
    column: Option<usize>,
}

fn difference(definition: &Definition, one: &Model, other: &Model) -> Option<Difference> {
    (0..definition.tables().len()).find_map(|table| {
        let (these, those) = (one.rows(table), other.rows(table));
        let key = these.keys().chain(those.keys()).find(|key| these.get(*key) != those.get(*key))?;
        let column = these
            .get(key)
            .zip(those.get(key))
            .and_then(|(this, that)| this.iter().zip(that).position(|(value, other)| value != other));
        Some(Difference { table, key: key.clone(), column })
    })
}

/// The message about an order that gives other rows: the first two events that, exchanged, change the rows.
fn explain(
    definition: &Definition,
    events: &[PlacedEvent],
    given: &[usize],
    order: &[usize],
    table: usize,
) -> Result<String, String> {
    let mut before = given.to_vec();
    for (place, wanted) in order.iter().enumerate() {
        let mut found = before.iter().position(|event| event == wanted).unwrap_or(place);
        while found > place {
            let mut after = before.clone();
            after.swap(found - 1, found);
            let models = [one_by_one(definition, events, &before)?, one_by_one(definition, events, &after)?];
            if let Some(difference) = difference(definition, &models[0], &models[1]) {
                let pair = [before[found - 1], before[found]].map(|place| &events[place]);
                return Ok(race(definition, pair, &models, &difference));
            }
            (before, found) = (after, found - 1);
        }
    }
    Ok(format!("table `{}`: the rows depend on the order of the events", definition.tables()[table].name()))
}

fn race(definition: &Definition, [first, second]: [&PlacedEvent; 2], models: &[Model; 2], of: &Difference) -> String {
    let table = &definition.tables()[of.table];
    let key = of.key.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let shown = |model: &Model| match (model.rows(of.table).get(&of.key), of.column) {
        (None, _) => "no row".to_owned(),
        (Some(_), None) => "a row".to_owned(),
        (Some(row), Some(column)) => row[column].to_string(),
    };
    let column = of.column.map(|column| format!(", column `{}`", table.data_columns()[column].name()));
    let operations = [first, second].map(|event| operations(table, of, &event.changes));
    format!(
        "the rows depend on the order of events in different partitions, which no log keeps.\n\
         Table `{}`, row {key}{}:\n  \
           {} when {} comes first,\n  \
           {} when {} comes first.\n\
         They make these changes there: {}, and {}.\n\
         Use instead: {}.",
        table.name(),
        column.unwrap_or_default(),
        shown(&models[0]),
        first.named(),
        shown(&models[1]),
        second.named(),
        operations[0],
        operations[1],
        advice(operations.iter().any(|operation| operation.contains("update_where"))),
    )
}

fn advice(fans_out: bool) -> &'static str {
    if fans_out {
        "a table of its own for the rows that change, and a reference that copies the columns (`TableSpec::reference`)"
    } else {
        "`newer`, which keeps the later value by its time; `add`, `max` or `min`; or a reference that copies the column from \
         a table which events of one key change (`TableSpec::reference`)"
    }
}

/// The operations of an event on the row, for a message.
fn operations(table: &TableSpec, of: &Difference, changes: &[Change]) -> String {
    let names = |cells: &Cells| {
        let operations = cells.as_slice().iter().enumerate();
        let concerned = operations.filter(|(place, _)| of.column.is_none_or(|column| column == *place));
        let name = |(place, cell): (usize, &Option<Cell>)| {
            Some(format!("`{} {}`", cell.as_ref()?.operation(), table.data_columns()[place].name()))
        };
        concerned.filter_map(name).collect::<Vec<_>>().join(" and ")
    };
    let of_change = |change: &Change| match change {
        Change::Row { table, key, change } if (*table, key) == (of.table, &of.key) => Some(match change {
            RowChange::Upsert(cells) => described("upsert", &names(cells)),
            RowChange::Update(cells) => described("update", &names(cells)),
            RowChange::Delete => "`delete`".to_owned(),
        }),
        Change::Where { table: index, column, cells, .. } if *index == of.table => {
            let by = table.data_columns()[*column].name();
            Some(format!("`update_where` by `{by}` with {}", names(cells)))
        }
        Change::ReplaceChildren { table, parent, .. } if *table == of.table && of.key.starts_with(parent) => {
            Some("`replace_children`".to_owned())
        }
        _ => None,
    };
    let operations: Vec<String> = changes.iter().filter_map(of_change).collect();
    if operations.is_empty() { "none of its own".into() } else { operations.join(", ") }
}

fn described(change: &str, operations: &str) -> String {
    if operations.is_empty() { format!("`{change}`") } else { format!("{operations} in an `{change}`") }
}

/// A seed that depends on the events alone, so that a test is the same on every run.
fn seed(events: &[PlacedEvent]) -> u64 {
    events.iter().fold(0xcbf2_9ce4_8422_2325, |hash, event| {
        let bytes = event.event_type.bytes().chain(event.partition.to_string().into_bytes());
        // FNV-1a (Fowler, Noll and Vo).
        bytes.fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    })
}

/// A random order.
fn random_order(mut partitions: Vec<Order>, random: &mut SplitMix64) -> Order {
    let mut order = Order::new();
    loop {
        partitions.retain(|rest| !rest.is_empty());
        if partitions.is_empty() {
            return order;
        }
        let partition = below(random, partitions.len());
        order.extend(partitions[partition].pop());
    }
}

fn below(random: &mut SplitMix64, limit: usize) -> usize {
    random.below(limit as u64) as usize
}
