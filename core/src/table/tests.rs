//! The rules for a declaration, and the differences between two.

use super::*;

fn table() -> TableSpec {
    TableSpec::new("t").key("id", ColumnType::Text).column("a", ColumnType::I32)
}

#[test]
fn every_problem_of_a_declaration_is_reported() {
    let faulty = TableSpec::new("x".repeat(49))
        .column("A", ColumnType::Text)
        .with_default("d", ColumnType::I32, "text")
        .nullable("d", ColumnType::Decimal { scale: 29 })
        .index(["nowhere"])
        .storage("fillfactor", 5)
        .storage("fillfactor", 70)
        .newer_by("d", "e");
    let wrong = faulty.validate().expect_err("it is faulty");
    for part in [
        "49 bytes",
        "no key",
        "`A`",
        "default of column `d`",
        "column `d` is declared twice",
        "scale of 29",
        "nowhere",
        "`fillfactor` is 5",
        "`fillfactor` is declared twice",
        "newer_by",
    ] {
        assert!(wrong.iter().any(|sentence| sentence.contains(part)), "{part} is missing in {wrong:#?}");
    }
    assert_eq!(table().validate(), Ok(()));
}

fn problems(table: TableSpec) -> String {
    table.validate().err().unwrap_or_default().join("; ")
}

#[test]
fn names_that_a_store_reserves_are_refused() {
    for name in ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "rowid", "oid", "_rowid_", "true", "false"] {
        let sentence = format!("table `t`: column `{name}` needs another name");
        assert!(problems(table().nullable(name, ColumnType::I32)).starts_with(&sentence), "{name}");
        assert!(problems(table().key(name, ColumnType::I32)).starts_with(&sentence), "{name} in a key");
    }
    for name in
        ["sqlite", "json_each", "jsonb_tree", "dbstat", "pragma_table_xinfo", "pg_class", "sqlite_schema", "readcast_x"]
    {
        let table = TableSpec::new(name).key("id", ColumnType::Text);
        assert!(!problems(table).is_empty(), "{name}");
    }
}

#[test]
fn no_table_is_wider_than_a_store_allows() {
    let wide = |columns: usize, column_type: ColumnType| {
        let key = TableSpec::new("t").key("id", ColumnType::Text);
        problems((1..columns).fold(key, |table, place| table.nullable(format!("c{place}"), column_type)))
    };
    assert_eq!(wide(1_600, ColumnType::I32), "");
    assert_eq!(
        wide(1_601, ColumnType::Bool),
        "table `t`: the table has 1601 columns; Postgres allows 1600: use several tables"
    );
    assert_eq!(
        wide(1_600, ColumnType::I64),
        "table `t`: a row with a value in each of its 1600 columns takes at least 13024 bytes; Postgres allows 8160: \
         use several tables"
    );
    // The alignment of each value takes space.
    let alternating = |columns: usize| {
        let key = TableSpec::new("t").key("id", ColumnType::I64);
        problems((1..columns).fold(key, |table, place| match place % 2 {
            0 => table.column(format!("c{place}"), ColumnType::I64),
            _ => table.column(format!("c{place}"), ColumnType::Bool),
        }))
    };
    assert_eq!(alternating(1_017), "");
    assert!(alternating(1_018).contains("at least 8168 bytes"), "{}", alternating(1_018));
}

#[test]
fn an_index_has_no_more_columns_than_a_store_allows() {
    let keyed = |columns: usize| {
        (0..columns).fold(TableSpec::new("t"), |table, place| table.key(format!("k{place}"), ColumnType::I32))
    };
    let names = |columns: usize| (0..columns).map(|place| format!("k{place}"));
    assert_eq!(problems(keyed(32).index(names(32))), "");
    assert_eq!(problems(keyed(33)), "table `t`: the key has 33 columns; Postgres allows 32");
    let indexed = |columns: Vec<String>| problems(keyed(32).nullable("k32", ColumnType::I32).index(columns));
    assert_eq!(indexed(names(33).collect()), "table `t`: index 1 has 33 columns; Postgres allows 32");
    assert_eq!(indexed(Vec::new()), "table `t`: index 1 has no column");
    assert_eq!(indexed(vec!["k1".into(), "k1".into()]), "table `t`: index 1 names column `k1` twice");
    let many = (0..10_000).fold(keyed(1), |table, _| table.index(["k0"]));
    assert_eq!(problems(many), "table `t`: the table has 10000 indexes; at most 9999 are allowed");
}

#[test]
fn a_new_row_is_older_than_every_event() {
    let validated = |table: TableSpec| table.nullable("tie", ColumnType::I64).newer_by("at", "tie").validate();
    assert_eq!(validated(table().nullable("at", ColumnType::I64)), Ok(()));
    let wrong = validated(table().with_default("at", ColumnType::I64, 5)).expect_err("a new row would be at 5");
    assert!(wrong[0].contains("`at`, which newer_by compares first, has a default"), "{wrong:?}");
}

#[test]
fn each_difference_between_definitions_is_a_sentence() {
    let new = TableSpec::new("t").key("id", ColumnType::Text).column("a", ColumnType::I64).index(["a"]);
    let stored = table().storage("fillfactor", 70);
    assert_eq!(differences(&[table()], &[stored]), ["table `t`: its storage parameters changed"]);
    assert_eq!(
        differences(&[table()], &[new]),
        ["table `t`: column `a` changed from i32 to i64", "table `t`: its indexes changed"]
    );
    assert_eq!(differences(&[table()], &[]), ["table `t` was removed"]);
    assert!(differences(&[table()], &[table()]).is_empty());
}

#[test]
fn a_view_that_no_store_can_create_is_refused() {
    use crate::table::view;
    use crate::{Join, ReadView};
    let owners = || TableSpec::new("owners").key("owner_id", ColumnType::I64).nullable("name", ColumnType::Text);
    let accounts = || TableSpec::new("accounts").key("id", ColumnType::Text).nullable("owner_id", ColumnType::I64);
    let problems = |view: ReadView| view::problems("bank", &[owners(), accounts().view(view)]).join("; ");
    let by_owner = |table: &str| Join::new(["owner_id"], table);
    let named = |name: &str| ReadView::new(name).column("id");
    assert_eq!(problems(named("details").join(by_owner("owners").column("name"))), "");
    for (view, part) in [
        (named("Details"), "the name is not of the form"),
        (named("readcast_details"), "are reserved"),
        (named("details").column("balance"), "table `accounts` has no column `balance`"),
        (named("details").join(by_owner("owners").column("city")), "table `owners` has no column `city`"),
        (named("details").join(by_owner("agents").column("name")), "`agents`, which is no table of projection `bank`"),
        (named("details").join(Join::new(["id"], "owners").column("name")), "joins (id) with the key (owner_id)"),
        (named("details").join(Join::new(["owner_id", "id"], "owners")), "number and types"),
        (named("details").column_as("owner_id", "id"), "two columns are shown as `id`"),
        (named("details").column_as("owner_id", "ctid"), "needs another name"),
        (named("details").column_as("owner_id", "The Owner"), "is no name of the form"),
        (ReadView::new("details"), "it shows no column"),
    ] {
        let found = problems(view);
        assert!(found.contains(part) && found.contains("of table `accounts`"), "{part}: {found}");
    }
}
