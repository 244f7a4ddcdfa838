//! Computes the bank's tables from its events independently: loops over maps, with money in whole cents. It shares no code
//! with the projection, the fold or the stores.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::oracle::{Tables, cents, money, text};

#[derive(Default)]
struct Bank {
    names: BTreeMap<String, String>,
    owners: BTreeMap<String, String>,
    balances: BTreeMap<String, i64>,
    transfers: Vec<Transfer>,
    days: BTreeMap<String, (i64, i64)>,
}

struct Transfer {
    id: String,
    from: String,
    to: String,
    cents: i64,
    at: String,
}

/// The tables after these events. The events of each key must be in order.
pub(crate) fn tables<E: AsRef<str>>(events: impl IntoIterator<Item = E>) -> Tables {
    let mut bank = Bank::default();
    for event in events {
        bank.take(&serde_json::from_str(event.as_ref()).expect("an event is JSON"));
    }
    bank.tables()
}

impl Bank {
    fn take(&mut self, event: &Value) {
        let data = &event["data"];
        match event["type"].as_str().expect("a type") {
            "OwnerRegistered" | "OwnerRenamed" => drop(self.names.insert(text(&data["owner_id"]), text(&data["name"]))),
            "AccountOpened" | "AccountAssigned" => {
                self.owners.insert(text(&data["account_id"]), text(&data["owner_id"]));
            }
            "TransferBooked" => self.book(data, text(&event["timestamp"])),
            _ => {}
        }
    }

    fn book(&mut self, data: &Value, at: String) {
        let (from, to, amount) = (text(&data["from"]), text(&data["to"]), cents(&data["amount"]));
        *self.balances.entry(from.clone()).or_default() -= amount;
        *self.balances.entry(to.clone()).or_default() += amount;
        let day = self.days.entry(at[..10].to_owned()).or_default();
        *day = (day.0 + 1, day.1 + amount);
        let at = if at.contains('.') { at } else { at.replace('Z', ".000000Z") };
        self.transfers.push(Transfer { id: text(&data["transfer_id"]), from, to, cents: amount, at });
    }

    fn tables(self) -> Tables {
        let name = |account: &String| {
            let name = self.owners.get(account).and_then(|owner| self.names.get(owner));
            name.cloned().unwrap_or_else(|| "null".to_owned())
        };
        let accounts = self.owners.keys().chain(self.balances.keys()).collect::<BTreeSet<_>>();
        let account = |account: &String| {
            let owner = self.owners.get(account).map_or("null", String::as_str);
            let balance = money(self.balances.get(account).copied().unwrap_or_default());
            format!("{account}|{owner}|{}|{balance}", name(account))
        };
        let transfer = |Transfer { id, from, to, cents, at }: &Transfer| {
            format!("{id}|{from}|{}|{to}|{}|{}|{at}", name(from), name(to), money(*cents))
        };
        let day = |(day, (transfers, amount)): (&String, &(i64, i64))| format!("{day}|{transfers}|{}", money(*amount));
        let mut tables = Tables::new();
        tables.insert("owners", self.names.iter().map(|(owner, name)| format!("{owner}|{name}")).collect());
        tables.insert("accounts", accounts.into_iter().map(account).collect());
        tables.insert("transfers", self.transfers.iter().map(transfer).collect());
        tables.insert("daily_totals", self.days.iter().map(day).collect());
        tables.values_mut().for_each(|rows| rows.sort());
        tables
    }
}
