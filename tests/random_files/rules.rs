//! Random files of projections, and what their rules do to rows, computed without readcast.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::expressions::{Meant, boolean, decimal, int, text};
use super::{Dice, Event, KINDS, money};

/// The rows of a table as texts, columns separated by `|`, in the order of their keys.
pub(crate) type Rows = Vec<String>;

/// A file with its meaning. It has a table by id, and one of the items of a list below each id.
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) text: String,
    rules: Vec<Rule>,
}

struct Rule {
    kinds: Vec<&'static str>,
    when: Option<Meant<bool>>,
    action: Action,
}

enum Action {
    Upsert(Cells),
    Update(Cells),
    Delete,
    UpdateWhere(Meant<String>, Cells),
    Children,
    /// An upsert for each item of the list, with the item's `k` added.
    EachItem,
}

/// What is done to each column.
struct Cells {
    number: Option<(&'static str, Meant<i64>)>,
    money: Option<(&'static str, Meant<i64>)>,
    note: Option<Meant<String>>,
    log: Option<Meant<i64>>,
}

/// A row of the first table.
#[derive(Clone, Default)]
struct Row {
    number: i64,
    cents: i64,
    note: Option<String>,
    log: Vec<i64>,
}

impl Written {
    pub(crate) fn random(dice: &mut Dice, name: &str) -> Self {
        let rules: Vec<Rule> = (0..1 + dice.below(5)).map(|_| Rule::random(dice)).collect();
        let mut text = format!(
            "topics = \"random\"\n\n[tables.{name}]\nkey = \"id\"\ncolumns.id = \"text\"\ncolumns.number = \"i64 default 0\"\n\
             columns.money = \"decimal(2) default 0\"\ncolumns.note = \"text null\"\ncolumns.log = \"json default []\"\n\n\
             [tables.{name}_items]\nkey = [\"id\", \"place\"]\ncolumns.id = \"text\"\ncolumns.place = \"i32\"\n\
             columns.price = \"decimal(2)\"\n"
        );
        rules.iter().for_each(|rule| rule.write(name, &mut text));
        Self { name: name.to_owned(), text, rules }
    }

    /// The query of each table, with columns in the form of [`Self::rows_after`].
    pub(crate) fn queries(&self, money: impl Fn(&str) -> String) -> [(String, String); 2] {
        let name = &self.name;
        [
            (name.clone(), format!("SELECT id, number, {}, note, log FROM {name}", money("money"))),
            (format!("{name}_items"), format!("SELECT id, place, {} FROM {name}_items", money("price"))),
        ]
    }

    /// The rows of each table after these events.
    pub(crate) fn rows_after(&self, events: &[Event]) -> BTreeMap<String, Rows> {
        let (mut rows, mut items) = (BTreeMap::<String, Row>::new(), BTreeMap::<(String, i64), i64>::new());
        for event in events {
            for rule in self.rules.iter().filter(|rule| rule.kinds.contains(&event.kind)) {
                if rule.when.as_ref().is_none_or(|when| when.of(event)) {
                    rule.apply(event, &mut rows, &mut items);
                }
            }
        }
        let row = |(id, row): (&String, &Row)| {
            let log: Vec<String> = row.log.iter().map(ToString::to_string).collect();
            let note = row.note.as_deref().unwrap_or("null");
            format!("{id}|{}|{}|{note}|[{}]", row.number, money(row.cents), log.join(","))
        };
        let item = |((id, place), cents): (&(String, i64), &i64)| format!("{id}|{place}|{}", money(*cents));
        BTreeMap::from([
            (self.name.clone(), rows.iter().map(row).collect()),
            (format!("{}_items", self.name), items.iter().map(item).collect()),
        ])
    }
}

impl Rule {
    fn random(dice: &mut Dice) -> Self {
        let first = dice.below(KINDS.len());
        let kinds = if dice.below(3) == 0 { KINDS.to_vec() } else { vec![KINDS[first]] };
        let when = (dice.below(3) == 0).then(|| boolean(dice, 2));
        let action = match dice.below(9) {
            0..=3 => Action::Upsert(Cells::random(dice)),
            4 => Action::Update(Cells::random(dice)),
            5 => Action::Delete,
            6 => Action::UpdateWhere(text(dice, 1), Cells::random(dice)),
            7 => Action::Children,
            _ => Action::EachItem,
        };
        Self { kinds, when, action }
    }

    fn write(&self, name: &str, text: &mut String) {
        let kinds = self.kinds.iter().map(|kind| format!("{kind:?}")).collect::<Vec<_>>().join(", ");
        writeln!(text, "\n[[on]]\nevent = [{kinds}]").unwrap();
        if let Some(when) = &self.when {
            writeln!(text, "when = {:?}", when.text).unwrap();
        }
        match &self.action {
            Action::Upsert(cells) => {
                writeln!(text, "upsert = \"{name}\"\nkey = \"data.id\"").unwrap();
                cells.write(text);
            }
            Action::Update(cells) => {
                writeln!(text, "update = \"{name}\"\nkey = \"data.id\"").unwrap();
                cells.write(text);
            }
            Action::Delete => writeln!(text, "delete = \"{name}\"\nkey = \"data.id\"").unwrap(),
            Action::UpdateWhere(value, cells) => {
                writeln!(text, "update_where = \"{name}\"\nwhere.note = {:?}", value.text).unwrap();
                cells.write(text);
            }
            Action::Children => writeln!(
                text,
                "replace_children = \"{name}_items\"\nkey = \"data.id\"\nforeach = \"data.list\"\nset.place = \"index + 1\"\n\
                 set.price = \"item.v\""
            )
            .unwrap(),
            Action::EachItem => writeln!(
                text,
                "foreach = \"data.list\"\nupsert = \"{name}\"\nkey = \"'i' + string(item.k % 3)\"\nadd.number = \"item.k\"\n\
                 add.money = \"item.v * 2\""
            )
            .unwrap(),
        }
    }

    fn apply(&self, event: &Event, rows: &mut BTreeMap<String, Row>, items: &mut BTreeMap<(String, i64), i64>) {
        match &self.action {
            Action::Upsert(cells) => cells.apply(event, rows.entry(event.id.clone()).or_default()),
            Action::Update(cells) => rows.get_mut(&event.id).into_iter().for_each(|row| cells.apply(event, row)),
            Action::Delete => drop(rows.remove(&event.id)),
            Action::UpdateWhere(value, cells) => {
                let value = Some(value.of(event));
                rows.values_mut().filter(|row| row.note == value).for_each(|row| cells.apply(event, row));
            }
            Action::Children => {
                items.retain(|(id, _), _| *id != event.id);
                items.extend((1..).zip(&event.list).map(|(place, (_, cents))| ((event.id.clone(), place), *cents)));
            }
            Action::EachItem => {
                for (k, cents) in &event.list {
                    let row = rows.entry(format!("i{}", k % 3)).or_default();
                    row.number += k;
                    row.cents += cents * 2;
                }
            }
        }
    }
}

impl Cells {
    fn random(dice: &mut Dice) -> Self {
        const OPERATIONS: [&str; 4] = ["set", "add", "max", "min"];
        let is_there = |dice: &mut Dice| dice.below(2) == 0;
        Self {
            number: is_there(dice).then(|| (dice.one_of(&OPERATIONS), int(dice, 2))),
            money: is_there(dice).then(|| (dice.one_of(&OPERATIONS), decimal(dice, 2))),
            note: is_there(dice).then(|| text(dice, 2)),
            log: is_there(dice).then(|| int(dice, 1)),
        }
    }

    fn write(&self, text: &mut String) {
        for (column, cell) in [("number", &self.number), ("money", &self.money)] {
            if let Some((operation, value)) = cell {
                writeln!(text, "{operation}.{column} = {:?}", value.text).unwrap();
            }
        }
        if let Some(note) = &self.note {
            writeln!(text, "set.note = {:?}", note.text).unwrap();
        }
        if let Some(item) = &self.log {
            writeln!(text, "append.log = {:?}", item.text).unwrap();
        }
    }

    fn apply(&self, event: &Event, row: &mut Row) {
        for (held, cell) in [(&mut row.number, &self.number), (&mut row.cents, &self.money)] {
            if let Some((operation, value)) = cell {
                let value = value.of(event);
                *held = match *operation {
                    "set" => value,
                    "add" => *held + value,
                    "max" => value.max(*held),
                    _ => value.min(*held),
                };
            }
        }
        if let Some(note) = &self.note {
            row.note = Some(note.of(event));
        }
        row.log.extend(self.log.iter().map(|item| item.of(event)));
    }
}
