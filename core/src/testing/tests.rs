//! The kit finds what depends on the order of the log.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;

use super::*;
use crate::{Changes, ColumnType, Envelope, ProjectionError, Reference};

/// How the names of owners reach their accounts.
#[derive(Clone, Copy)]
enum Names {
    /// By a fan-out from the event that renames an owner.
    FanOut,
    /// By a fan-out that only a later event overrides.
    Newer,
    /// By a reference.
    Reference,
}

struct Bank(Names);

#[derive(Deserialize)]
struct Owner {
    owner: String,
    name: String,
}

#[derive(Deserialize)]
struct Account {
    account: String,
    owner: String,
    name: String,
}

impl Projection for Bank {
    fn name(&self) -> &str {
        "bank"
    }

    fn topics(&self) -> &[&str] {
        &["owners", "accounts"]
    }

    fn event_types(&self) -> &[&str] {
        &["OwnerRenamed", "AccountOpened", "AccountUsed"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        let owners = TableSpec::new("owners").key("owner", ColumnType::Text).column("name", ColumnType::Text);
        let accounts = TableSpec::new("accounts")
            .key("account", ColumnType::Text)
            .nullable("owner", ColumnType::Text)
            .nullable("name", ColumnType::Text)
            .nullable("at", ColumnType::Timestamp)
            .nullable("tie", ColumnType::Text)
            .with_default("uses", ColumnType::I64, 0)
            .newer_by("at", "tie");
        let reference = Reference::new(["owner"], "owners").copy_as("name", "name");
        match self.0 {
            Names::Reference => vec![owners, accounts.reference(reference)],
            Names::FanOut | Names::Newer => vec![owners, accounts],
        }
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let (at, id) = (event.timestamp, event.event_id.as_ref());
        match (&*event.event_type, self.0) {
            ("OwnerRenamed", names) => {
                let Owner { owner, name } = event.data()?;
                changes.upsert("owners", [owner.as_str()]).set("name", name.as_str());
                match names {
                    Names::FanOut => drop(changes.update_where("accounts", "owner", owner).set("name", name)),
                    Names::Newer => {
                        changes.update_where("accounts", "owner", owner).newer(at, id, [("name", name.into())]);
                    }
                    Names::Reference => {}
                }
            }
            ("AccountUsed", _) => {
                let Account { account, .. } = event.data()?;
                changes.upsert("accounts", [account]).add("uses", 1);
            }
            (_, names) => {
                let Account { account, owner, name } = event.data()?;
                let row = changes.upsert("accounts", [account]).set("owner", owner);
                match names {
                    Names::FanOut => drop(row.set("name", name)),
                    Names::Newer => drop(row.newer(at, id, [("name", name.into())])),
                    Names::Reference => {}
                }
            }
        }
        Ok(())
    }
}

fn renamed(name: &str) -> TestEvent {
    event("OwnerRenamed", &format!(r#"{{"owner":"o1","name":"{name}"}}"#)).topic("owners").key("o1")
}

fn account(kind: &str, account: &str) -> TestEvent {
    let data = format!(r#"{{"account":"{account}","owner":"o1","name":"Ada"}}"#);
    event(kind, &data).topic("accounts").key(account)
}

/// The message of a test that fails.
fn failure(names: Names, events: impl IntoIterator<Item = TestEvent>) -> String {
    let failed = catch_unwind(AssertUnwindSafe(|| given(Bank(names), events))).expect_err("the order matters");
    failed.downcast_ref::<String>().expect("a message").clone()
}

#[test]
fn a_fan_out_that_races_a_new_row_fails_and_names_both_orders() {
    let message = failure(Names::FanOut, [account("AccountOpened", "a1"), renamed("Ada Lovelace")]);
    assert_eq!(
        message,
        "the rows depend on the order of events in different partitions, which no log keeps.\n\
         Table `accounts`, row a1, column `name`:\n  \
           Ada Lovelace when event 0 (AccountOpened in accounts/1) comes first,\n  \
           Ada when event 1 (OwnerRenamed in owners/1) comes first.\n\
         They make these changes there: `set name` in an `upsert`, and `update_where` by `owner` with `set name`.\n\
         Use instead: a table of its own for the rows that change, and a reference that copies the columns \
         (`TableSpec::reference`)."
    );
}

#[test]
fn newer_in_a_fan_out_loses_what_comes_before_the_row_and_a_reference_does_not() {
    let events = || [account("AccountOpened", "a1"), renamed("Ada Lovelace"), account("AccountUsed", "a1")];
    assert!(failure(Names::Newer, events()).contains("Table `accounts`, row a1"));
    given(Bank(Names::Reference), events()).then("accounts", "account | name | uses\n a1 | Ada Lovelace | 1");
}

#[test]
fn the_race_of_two_among_many_events_is_found() {
    let opened = (0..12).map(|number| account("AccountOpened", &format!("a{number}")));
    let used = (0..30).map(|number| account("AccountUsed", &format!("a{}", number % 12)));
    let events: Vec<TestEvent> = opened.chain(used).chain([renamed("Ada Lovelace")]).collect();
    let message = failure(Names::FanOut, events.clone());
    assert!(message.contains("event 42 (OwnerRenamed in owners/1)"), "{message}");
    given(Bank(Names::Reference), events).then("owners", "owner | name\n o1 | Ada Lovelace");
}

#[test]
fn events_of_one_key_or_of_one_partition_keep_their_order() {
    given(Bank(Names::FanOut), [renamed("Ada"), renamed("Ada Lovelace")])
        .then("owners", "owner | name\n o1 | Ada Lovelace");
    let in_one = [account("AccountOpened", "a1").topic("owners").partition(3), renamed("Bo").partition(3)];
    given(Bank(Names::FanOut), in_one).then("accounts", "account | name\n a1 | Bo");
}

#[test]
fn an_event_is_what_its_builder_says() {
    let json = event("T", "{}").id("e1").version(3).at("2024-05-20T14:30:00Z").json(7);
    assert_eq!(json, r#"{"event_id":"e1","type":"T","version":3,"timestamp":"2024-05-20T14:30:00Z","data":{}}"#);
    let filled_in = event("T", "{}").json(61);
    assert!(filled_in.contains(r#""event_id":"evt_61""#) && filled_in.contains("2024-01-01T00:01:01Z"), "{filled_in}");
    let unread = try_given(Bank(Names::Reference), [renamed("Ada").topic("payments")]).expect_err("no such topic");
    assert_eq!(unread, "event 0: projection `bank` does not read topic `payments`");
}

#[test]
fn an_id_and_a_type_may_hold_any_text() {
    let odd = "\" \\ \n";
    let json = event(odd, "1").id(odd).correlation_id(odd).json(0);
    let read = Envelope::from_plain_json(crate::TopicPartition::new("t", 0).at(0), None, json.as_bytes());
    let read = read.expect("an event");
    assert_eq!((&*read.event_type, &*read.event_id, read.correlation_id.as_deref()), (odd, odd, Some(odd)));
}

#[test]
fn columns_that_the_form_of_rows_can_not_show_are_left_out_of_them() {
    let opened = |name: &str| {
        let data = serde_json::json!({ "account": "a1", "owner": "o1", "name": name }).to_string();
        given(Bank(Names::FanOut), [event("AccountOpened", &data).topic("accounts")])
    };
    for odd in ["a|b", "a\nb", " a", "a\t"] {
        let (rows, left_out) = opened(odd).rows("accounts").expect("the table");
        assert_eq!(left_out, ["name"], "{odd:?}");
        opened(odd).then("accounts", &rows);
    }
    let (rows, left_out) = opened("a b").rows("accounts").expect("the table");
    assert!(rows.contains("| a b") && left_out.is_empty(), "{rows}");
}

#[test]
fn two_updates_of_a_missing_row_change_nothing() {
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

    given(Notes, [event("NOTED", "{}"), event("NOTED", "{}")]).then_empty("notes");
}
