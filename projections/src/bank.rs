//! A bank, the example of references: `owners`, their `accounts`, `transfers` between two accounts, and `daily_totals`.
//!
//! The events of owners, accounts and transfers are in topics of their own, so Kafka keeps no order between them. Names of
//! owners are copied by references, which are right in any order. Balances and totals are sums, which are so too.

pub mod sample;

use readcast_core::{
    AffectedRow, Changes, ColumnType, Decimal, Envelope, Projection, ProjectionError, Reference, Registry, TableSpec,
    Upcasters,
};
use serde::{Deserialize, Serialize};

/// The topic of owners. The record key is the owner's id.
pub const OWNERS: &str = "owners";
/// The topic of accounts. The record key is the account's id.
pub const ACCOUNTS: &str = "accounts";
/// The topic of transfers. The record key is the transfer's id. Other services of the bank have topics of their own, whose
/// names begin like this one.
pub const TRANSFERS: &str = "transfers";
const ALL_TRANSFERS: &str = "transfers*";

const REGISTERED: &str = "OwnerRegistered";
const RENAMED: &str = "OwnerRenamed";
const OPENED: &str = "AccountOpened";
const ASSIGNED: &str = "AccountAssigned";
const BOOKED: &str = "TransferBooked";

const MONEY: ColumnType = ColumnType::Decimal { scale: 2 };

/// The projection as a file: its name and its text.
pub const FILE: (&str, &str) = ("bank.toml", include_str!("../bank/bank.toml"));

/// The registry of the bank's projections.
pub fn registry() -> Registry {
    Registry::new().register(Bank)
}

/// Owners, accounts with the names of their owners, transfers with the owners of both accounts, and daily totals.
pub struct Bank;

#[derive(Deserialize)]
struct Owner {
    owner_id: String,
    name: String,
}

#[derive(Deserialize)]
struct Account {
    account_id: String,
    owner_id: String,
}

/// Version 1 of a transfer.
#[derive(Deserialize)]
struct TransferV1 {
    transfer_id: String,
    from: String,
    to: String,
    amount: Decimal,
}

/// Version 2: the amount is a whole number of minor units, such as cents.
#[derive(Deserialize, Serialize)]
struct Transfer {
    transfer_id: String,
    from: String,
    to: String,
    minor_units: i64,
}

impl TransferV1 {
    fn upcast(self) -> Result<Transfer, ProjectionError> {
        let Self { transfer_id, from, to, amount } = self;
        let minor_units = amount.rescale(2)?.as_rust_decimal().mantissa().try_into()?;
        Ok(Transfer { transfer_id, from, to, minor_units })
    }
}

impl Projection for Bank {
    fn name(&self) -> &str {
        "bank"
    }

    fn topics(&self) -> &[&str] {
        &[OWNERS, ACCOUNTS, ALL_TRANSFERS]
    }

    fn event_types(&self) -> &[&str] {
        &[REGISTERED, RENAMED, OPENED, ASSIGNED, BOOKED]
    }

    fn upcasters(&self) -> Upcasters {
        Upcasters::new().upcast(BOOKED, 1, TransferV1::upcast)
    }

    fn tables(&self) -> Vec<TableSpec> {
        let owners = TableSpec::new("owners").key("owner_id", ColumnType::Text).column("name", ColumnType::Text);
        // A transfer may arrive before its accounts are opened, so an account may have a balance and no owner yet.
        let accounts = TableSpec::new("accounts")
            .key("account_id", ColumnType::Text)
            .nullable("owner_id", ColumnType::Text)
            .nullable("owner_name", ColumnType::Text)
            .with_default("balance", MONEY, 0)
            .reference(Reference::new(["owner_id"], "owners").copy_as("name", "owner_name"));
        let transfers = TableSpec::new("transfers")
            .key("transfer_id", ColumnType::Text)
            .column("from_account", ColumnType::Text)
            .nullable("from_owner", ColumnType::Text)
            .column("to_account", ColumnType::Text)
            .nullable("to_owner", ColumnType::Text)
            .column("amount", MONEY)
            .column("booked_at", ColumnType::Timestamp)
            .reference(Reference::new(["from_account"], "accounts").copy_as("owner_name", "from_owner"))
            .reference(Reference::new(["to_account"], "accounts").copy_as("owner_name", "to_owner"));
        let daily_totals = TableSpec::new("daily_totals")
            .key("day", ColumnType::Date)
            .with_default("transfers", ColumnType::I64, 0)
            .with_default("amount", MONEY, 0);
        vec![owners, accounts, transfers, daily_totals]
    }

    /// A transfer that is not booked leaves both accounts without it.
    fn affected(&self, event: &Envelope<'_>) -> Vec<AffectedRow> {
        let parties = event.data::<Parties>().unwrap_or_default();
        parties.from.into_iter().chain(parties.to).map(|account| AffectedRow::new("accounts", [account])).collect()
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        match &*event.event_type {
            REGISTERED | RENAMED => {
                let Owner { owner_id, name } = event.data()?;
                changes.upsert("owners", [owner_id]).set("name", name);
            }
            OPENED | ASSIGNED => {
                let Account { account_id, owner_id } = event.data()?;
                changes.upsert("accounts", [account_id]).set("owner_id", owner_id);
            }
            BOOKED => transfer(event, changes)?,
            other => return Err(format!("`{other}` is not a type of the bank's events").into()),
        }
        Ok(())
    }
}

/// The accounts of a transfer, whatever else is wrong with it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parties {
    from: Option<String>,
    to: Option<String>,
}

fn transfer(event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
    let Transfer { transfer_id, from, to, minor_units } = event.data()?;
    let amount = Decimal::new(minor_units, 2);
    changes.upsert("accounts", [from.as_str()]).add("balance", -amount);
    changes.upsert("accounts", [to.as_str()]).add("balance", amount);
    changes
        .upsert("transfers", [transfer_id])
        .set("from_account", from)
        .set("to_account", to)
        .set("amount", amount)
        .set("booked_at", event.timestamp);
    let day = event.timestamp.as_datetime().date_naive();
    changes.upsert("daily_totals", [day]).add("transfers", 1).add("amount", amount);
    Ok(())
}

#[cfg(test)]
mod tests {
    use readcast_core::testing::{event, given};

    use super::*;

    #[test]
    fn names_of_owners_reach_accounts_and_transfers_in_any_order() {
        let owner =
            |kind, name| event(kind, &format!(r#"{{"owner_id":"o1","name":"{name}"}}"#)).topic(OWNERS).key("o1");
        let opened = event(OPENED, r#"{"account_id":"a1","owner_id":"o1"}"#).topic(ACCOUNTS).key("a1");
        let booked = event(BOOKED, r#"{"transfer_id":"t1","from":"a1","to":"a2","amount":12.50}"#);
        let booked = booked.topic(TRANSFERS).key("t1");
        given(Bank, [owner(REGISTERED, "Ada"), owner(RENAMED, "Ada Lovelace"), opened, booked])
            .then("accounts", "account_id | owner_name | balance\n a1 | Ada Lovelace | -12.50\n a2 | NULL | 12.50")
            .then("transfers", "transfer_id | from_owner | to_owner | amount\n t1 | Ada Lovelace | NULL | 12.50")
            .then("daily_totals", "day | transfers | amount\n 2024-01-01 | 1 | 12.50");
    }
}
