//! Names that databases know: each is refused where a projection is declared, or does for every operation.

use readcast::store::{CommitOutcome, DropOutcome, Generation, SwapOutcome};
use readcast_core::{ChangeSet, ColumnType, Model, TableSpec};

use super::comparisons::compare;
use super::lane::{Lane, changes, definition};
use super::lifecycle::{begin, copied};
use super::subject::{Subject, expected};

/// Every keyword that SQLite has (sqlite.org/lang_keywords.html) and every one that PostgreSQL reserves (its
/// documentation, appendix C).
const KEYWORDS: &str = "
    abort action add after all alter always analyse analyze and any array as asc asymmetric attach authorization
    autoincrement before begin between binary both by cascade case cast check collate collation column commit concurrently
    conflict constraint create cross current current_catalog current_date current_role current_schema current_time
    current_timestamp current_user database default deferrable deferred delete desc detach distinct do drop each else end
    escape except exclude exclusive exists explain fail false fetch filter first following for foreign freeze from full
    generated glob grant group groups having if ignore ilike immediate in index indexed initially inner insert instead
    intersect into is isnull join key last lateral leading left like limit localtime localtimestamp match materialized
    natural no not nothing notnull null nulls of offset on only or order others outer over overlaps partition placing plan
    pragma preceding primary query raise range recursive references regexp reindex release rename replace restrict
    returning right rollback row rows savepoint select session_user set similar some symmetric system_user table
    tablesample temp temporary then ties to trailing transaction trigger true unbounded union unique unknown update user
    using vacuum values variadic verbose view virtual when where window with without";

/// Names that statements of ours use, or that databases give to things of their own.
const OTHERS: &str = "
    main public excluded held new old given live other place image k0 i0 value exponent powers_of_two unnest count text
    int4 record name type class generation projection id parent path atom fullkey json root rank readcast pg postgres
    information_schema nextval collation_for _ __ _1 t t_pkey t_g1_pkey generate_series hash_record_extended";

fn names() -> Vec<&'static str> {
    KEYWORDS.split_whitespace().chain(OTHERS.split_whitespace()).collect()
}

/// Those of them that a declaration accepts.
fn accepted(declare: impl Fn(&str) -> TableSpec) -> Vec<&'static str> {
    names().into_iter().filter(|name| declare(name).validate().is_ok()).collect()
}

/// A row in each of `tables`, in every column.
fn rows(tables: &[TableSpec], value: &str) -> ChangeSet {
    changes(tables, |changes| {
        for table in tables {
            let key = vec![value; table.key_columns().len()];
            let columns = table.data_columns().iter();
            columns.fold(changes.upsert(table.name(), key), |row, column| row.set(column.name(), value));
        }
    })
}

/// Builds `tables`, writes to them in every way, copies, compares and shows them.
async fn try_all(subject: &Subject, tables: &[TableSpec]) {
    let definition = definition(tables);
    let mut model = Model::new(tables.to_vec());
    let mut lane = Lane::claim(subject, &definition).await;
    let others = changes(tables, |changes| {
        for table in tables {
            let (of, last) = (table.name(), table.data_columns().last().expect("a column").name());
            let key = |value: &'static str| vec![value; table.key_columns().len()];
            changes.update(of, key("a")).max(last, "max");
            changes.update_where(of, last, "max").set(last, "found");
            changes.delete(of, key("b"));
        }
    });
    for set in [rows(tables, "a"), rows(tables, "b"), others] {
        model.apply(&set).expect("texts");
        let committed = lane.commit(set).await;
        assert!(matches!(committed, Ok(CommitOutcome::Applied(_))), "{committed:?}");
    }
    let mut begun = begin(subject, &definition, &copied(&[])).await;
    begun.lead.index(&definition, begun.generation).await.expect("indexes");
    for table in tables {
        let last = table.data_columns().last().expect("a column").name();
        let live = subject.physical(table);
        subject.execute(&format!("UPDATE {live} SET \"{last}\" = 'other'")).await;
    }
    let differs = compare(subject, &mut begun).await.expect("both are at the same place");
    assert!(differs.tables.iter().all(|table| table.changed == 1 && table.samples.len() == 1), "{differs:?}");
    begun.ready().await;
    for (from, to) in [(Generation(1), begun.generation), (begun.generation, Generation(1))] {
        assert_eq!(begun.swap(subject, from, to).await, Ok(SwapOutcome::Done));
        assert_eq!(subject.store.alterations(&definition, to).await, Ok(vec![]));
    }
    assert_eq!(begun.swap(subject, Generation(1), begun.generation).await, Ok(SwapOutcome::Done));
    for (index, table) in tables.iter().enumerate() {
        assert_eq!(subject.rows(table).await, expected(&model, index, table));
        assert_eq!(subject.store.peek(table, 5).await.expect("a look").count, 1);
    }
    let old = subject.generation(Generation(1)).await;
    let around = subject.store.swap_impact(&subject.generation(begun.generation).await, &definition).await;
    assert_eq!(around.expect("a look around").incompatible, Vec::<String>::new());
    begun.lead.end(old.generation, None).await.expect("an end");
    let old = subject.generation(Generation(1)).await;
    assert_eq!(begun.lead.drop_tables(&old).await, Ok(DropOutcome::Done(Vec::new())));
}

pub(super) async fn columns_of_every_name_take_every_operation(subject: &Subject) {
    let keyed = |name: &str| TableSpec::new("t").key(name, ColumnType::Text);
    let accepted = accepted(keyed);
    let refused: Vec<_> = names().into_iter().filter(|name| !accepted.contains(name)).collect();
    assert_eq!(refused, ["false", "true"]);
    let data = accepted.iter().filter(|name| **name != "id");
    let data = data.fold(keyed("id"), |table, name| table.nullable(*name, ColumnType::Text));
    let data = data.index(accepted.iter().take(TableSpec::MAX_INDEX_COLUMNS).copied());
    let keyed = accepted.chunks(TableSpec::MAX_INDEX_COLUMNS).zip(0..).map(|(names, number)| {
        let table = TableSpec::new(format!("keyed{number}"));
        let table = names.iter().fold(table, |table, name| table.key(*name, ColumnType::Text));
        table.nullable("beside_the_key", ColumnType::Text)
    });
    let tables: Vec<_> = [data].into_iter().chain(keyed).collect();
    try_all(subject, &tables).await;
}

pub(super) async fn tables_of_every_name_take_every_operation(subject: &Subject) {
    let table = |name: &str| {
        TableSpec::new(name).key("id", ColumnType::Text).nullable("n", ColumnType::Text).index(["n", "id"])
    };
    let accepted = accepted(table);
    assert_eq!(accepted, names());
    let tables: Vec<_> = accepted.into_iter().map(table).collect();
    try_all(subject, &tables).await;
}
