//! A bank as input for the laws of references: owners, their accounts, and the cards of these accounts, which is a chain of
//! two references. Each event changes the rows of one table, and events of one topic change one table.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use readcast_core::{Change, ChangeSet, Changes, ColumnType, Decimal, Model, Reference, TableSpec, Timestamp, Value};

/// The number of topics, and of tables.
pub(crate) const TOPICS: usize = 3;

pub(crate) fn tables() -> Vec<TableSpec> {
    vec![
        TableSpec::new("owners").key("owner_id", ColumnType::Text).nullable("name", ColumnType::Text).with_default(
            "tier",
            ColumnType::I32,
            1,
        ),
        TableSpec::new("accounts")
            .key("account_id", ColumnType::I64)
            .nullable("owner_id", ColumnType::Text)
            .nullable("owner_name", ColumnType::Text)
            .nullable("owner_tier", ColumnType::I32)
            .with_default("balance", ColumnType::Decimal { scale: 2 }, 0)
            .nullable("at", ColumnType::Timestamp)
            .nullable("tie", ColumnType::I32)
            .newer_by("at", "tie")
            .reference(
                Reference::new(["owner_id"], "owners").copy_as("name", "owner_name").copy_as("tier", "owner_tier"),
            ),
        TableSpec::new("cards")
            .key("account_id", ColumnType::I64)
            .key("card", ColumnType::I32)
            .nullable("holder", ColumnType::Text)
            .with_default("uses", ColumnType::I32, 0)
            .reference(Reference::new(["account_id"], "accounts").copy_as("owner_name", "holder")),
    ]
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Named(u8, Option<&'static str>),
    /// All owners with this name get this tier.
    Promoted(&'static str, i32),
    Left(u8),
    Opened(i64, Option<u8>),
    /// As `Opened`, unless a later one came before.
    Assigned(i64, i64, u8),
    Moved(i64),
    /// All accounts of an owner go to another one.
    Merged(u8, u8),
    Closed(i64),
    Issued(i64, Vec<i32>),
    Used(i64, i32),
}

impl Event {
    pub(crate) fn changes(&self, tables: &[TableSpec]) -> Vec<Change> {
        let mut changes = Changes::new(tables);
        match self {
            Event::Named(owner, name) => drop(changes.upsert("owners", [id(*owner)]).set("name", *name)),
            Event::Promoted(name, tier) => drop(changes.update_where("owners", "name", *name).set("tier", *tier)),
            Event::Left(owner) => changes.delete("owners", [id(*owner)]),
            Event::Opened(account, owner) => {
                changes.upsert("accounts", [*account]).set("owner_id", owner.map(id));
            }
            Event::Assigned(account, at, owner) => {
                let at = Timestamp::from_micros(*at).expect("a year that can be written");
                let owner = ("owner_id", Value::from(id(*owner)));
                changes.upsert("accounts", [*account]).newer(at, 0, [owner]);
            }
            Event::Moved(account) => drop(changes.upsert("accounts", [*account]).add("balance", Decimal::new(5, 1))),
            Event::Merged(from, to) => {
                changes.update_where("accounts", "owner_id", id(*from)).set("owner_id", id(*to));
            }
            Event::Closed(account) => changes.delete("accounts", [*account]),
            Event::Issued(account, cards) => {
                changes.replace_children("cards", [*account], cards.iter().map(|card| vec![(*card).into(), 0.into()]));
            }
            Event::Used(account, card) => {
                let key: [Value; 2] = [(*account).into(), (*card).into()];
                changes.upsert("cards", key).add("uses", 1);
            }
        }
        changes.finish().expect("valid changes")
    }

    /// The topic, within which the order is kept, and the table.
    pub(crate) fn topic(&self) -> usize {
        match self {
            Event::Named(..) | Event::Promoted(..) | Event::Left(_) => 0,
            Event::Opened(..) | Event::Assigned(..) | Event::Moved(_) | Event::Merged(..) | Event::Closed(_) => 1,
            Event::Issued(..) | Event::Used(..) => 2,
        }
    }
}

fn id(owner: u8) -> String {
    format!("owner {owner}")
}

/// An event about one of a few owners and accounts.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let (owner, account, card) = (0..4_u8, 0..4_i64, 0..3_i32);
    let name = || prop::sample::select(vec!["Ada", "Émile", "bo"]);
    prop_oneof![
        4 => (owner.clone(), option::of(name())).prop_map(|(owner, name)| Event::Named(owner, name)),
        1 => (name(), 2..4_i32).prop_map(|(name, tier)| Event::Promoted(name, tier)),
        1 => owner.clone().prop_map(Event::Left),
        4 => (account.clone(), option::of(owner.clone())).prop_map(|(account, owner)| Event::Opened(account, owner)),
        2 => (account.clone(), 0..3_i64, owner.clone()).prop_map(|(account, at, owner)| Event::Assigned(account, at, owner)),
        2 => account.clone().prop_map(Event::Moved),
        1 => (owner.clone(), owner).prop_map(|(from, to)| Event::Merged(from, to)),
        1 => account.clone().prop_map(Event::Closed),
        2 => (account.clone(), vec(card.clone(), 0..3)).prop_map(|(account, cards)| Event::Issued(account, cards)),
        2 => (account, card).prop_map(|(account, card)| Event::Used(account, card)),
    ]
}

/// These events as one batch.
pub(crate) fn folded<'a>(events: impl IntoIterator<Item = &'a Event>, tables: &[TableSpec]) -> ChangeSet {
    let mut changes = ChangeSet::new();
    events.into_iter().flat_map(|event| event.changes(tables)).for_each(|change| changes.push(change, tables));
    changes
}

/// The tables after these batches.
pub(crate) fn applied(batches: impl IntoIterator<Item = ChangeSet>) -> Model {
    let mut model = Model::new(tables());
    for changes in batches {
        model.apply(&changes).expect("numbers in range");
    }
    model
}
