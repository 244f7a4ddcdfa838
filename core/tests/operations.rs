//! The effect of each operation on an existing and on a missing row. The laws presuppose it.

use readcast_core::{ChangeError, Changes, ColumnType, Json, Model, TableSpec, Value};

fn table() -> TableSpec {
    TableSpec::new("t")
        .key("id", ColumnType::Text)
        .nullable("free", ColumnType::I64)
        .with_default("floored", ColumnType::I64, 10)
        .nullable("log", ColumnType::Json)
        .nullable("at", ColumnType::I64)
        .nullable("tie", ColumnType::I64)
        .nullable("state", ColumnType::Text)
        .newer_by("at", "tie")
}

/// The cells of row `a` after these changes, each applied alone, and how many updates were missed.
#[track_caller]
fn after(steps: &[&dyn Fn(&mut Changes<'_>)]) -> (Option<Vec<String>>, u64) {
    let tables = vec![table()];
    let mut model = Model::new(tables.clone());
    for step in steps {
        let mut changes = Changes::new(&tables);
        step(&mut changes);
        for change in changes.finish().expect("changes that fit") {
            model.apply_change(&change).expect("numbers in range");
        }
    }
    let row = model.rows(0).get(&vec![Value::from("a")]);
    (row.map(|row| row.iter().map(Value::to_string).collect()), model.missed())
}

#[track_caller]
fn assert_row(steps: &[&dyn Fn(&mut Changes<'_>)], cells: &str) {
    let row = after(steps).0.map(|row| row.join(" "));
    assert_eq!(row.as_deref(), Some(cells));
}

#[test]
fn add_counts_from_the_default_or_from_zero() {
    let add = |changes: &mut Changes<'_>| {
        changes.upsert("t", ["a"]).add("free", 2).add("floored", 2);
    };
    assert_row(&[&add], "2 12 NULL NULL NULL NULL");
    assert_row(&[&add, &add], "4 14 NULL NULL NULL NULL");
}

#[test]
fn an_extremum_starts_at_the_default_or_at_the_first_value() {
    let max = |value: i64| {
        move |changes: &mut Changes<'_>| {
            changes.upsert("t", ["a"]).max("free", value).max("floored", value);
        }
    };
    let min = |value: i64| {
        move |changes: &mut Changes<'_>| {
            changes.upsert("t", ["a"]).min("free", value).min("floored", value);
        }
    };
    assert_row(&[&max(7)], "7 10 NULL NULL NULL NULL");
    assert_row(&[&max(7), &max(12), &max(3)], "12 12 NULL NULL NULL NULL");
    assert_row(&[&min(12)], "12 10 NULL NULL NULL NULL");
    assert_row(&[&min(12), &min(3), &min(7)], "3 3 NULL NULL NULL NULL");
}

#[test]
fn append_makes_an_array_of_any_earlier_value() {
    let json = |text| Json::parse(text).expect("JSON");
    let append = |changes: &mut Changes<'_>| {
        changes.upsert("t", ["a"]).append("log", json("[1]"));
    };
    let set = |changes: &mut Changes<'_>| {
        changes.upsert("t", ["a"]).set("log", json(r#"{"k":2}"#));
    };
    assert_row(&[&append, &append], "NULL 10 [[1],[1]] NULL NULL NULL");
    assert_row(&[&set, &append], r#"NULL 10 [{"k":2},[1]] NULL NULL NULL"#);
}

#[test]
fn newer_sets_only_what_is_later_and_the_greater_tie_wins() {
    let newer = |at: i64, tie: i64, state: &'static str| {
        move |changes: &mut Changes<'_>| {
            changes.upsert("t", ["a"]).newer(at, tie, [("state", state.into())]);
        }
    };
    assert_row(&[&newer(5, 1, "first")], "NULL 10 NULL 5 1 first");
    assert_row(&[&newer(5, 1, "first"), &newer(4, 9, "earlier")], "NULL 10 NULL 5 1 first");
    assert_row(&[&newer(5, 1, "first"), &newer(5, 1, "again")], "NULL 10 NULL 5 1 first");
    assert_row(&[&newer(5, 1, "first"), &newer(5, 2, "tied")], "NULL 10 NULL 5 2 tied");
    assert_row(&[&newer(5, 1, "first"), &newer(6, 0, "later")], "NULL 10 NULL 6 0 later");
}

#[test]
fn update_and_delete_of_a_missing_row_make_none() {
    let update = |changes: &mut Changes<'_>| {
        changes.update("t", ["a"]).add("free", 1);
    };
    let delete = |changes: &mut Changes<'_>| changes.delete("t", ["a"]);
    assert_eq!(after(&[&update, &delete, &update]), (None, 2));
    let create = |changes: &mut Changes<'_>| {
        changes.upsert("t", ["a"]).set("state", "x");
    };
    assert_row(&[&create, &update, &delete, &create], "NULL 10 NULL NULL NULL x");
}

#[test]
fn update_where_selects_the_rows_that_hold_the_value_even_null() {
    let create = |changes: &mut Changes<'_>| {
        changes.upsert("t", ["a"]).set("free", 1);
    };
    let increment = |changes: &mut Changes<'_>| {
        changes.update_where("t", "free", 1).set("free", 2).add("floored", 1);
    };
    let of_null = |changes: &mut Changes<'_>| {
        changes.update_where("t", "state", None::<&str>).set("state", "was null");
    };
    assert_row(&[&create, &increment, &increment], "2 11 NULL NULL NULL NULL");
    assert_row(&[&create, &of_null], "1 10 NULL NULL NULL was null");
}

#[test]
fn a_cell_of_newer_allows_no_second_operation() {
    let tables = [table()];
    let mut changes = Changes::new(&tables);
    changes.upsert("t", ["a"]).newer(5, 1, []).set("at", 9);
    assert_eq!(changes.finish(), Err(ChangeError::Conflict { table: "t".into(), column: "at".into() }));
}
