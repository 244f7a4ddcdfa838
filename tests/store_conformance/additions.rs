//! What users add to the live tables: named, with what becomes of it; and their indexes, carried from one generation to
//! the next.

use readcast::store::{AdditionFate, Generation, SwapOutcome, UserAddition};
use readcast_core::{ColumnType, Definition, TableSpec};

use super::lane::{Lane, changes, definition, versioned};
use super::lifecycle::{Begun, begin, empty};
use super::subject::Subject;

/// A table with a name that stands in its users' indexes too.
fn people() -> TableSpec {
    TableSpec::new("people")
        .key("id", ColumnType::I64)
        .nullable("name", ColumnType::Text)
        .nullable("n", ColumnType::I64)
        .index(["name"])
}

/// A name with quotes, expressions, a condition, and the table's name in a text: all that replacing names in a statement
/// would spoil.
fn intricate(physical: &str) -> String {
    format!(
        r#"CREATE UNIQUE INDEX "by ""name""" ON {physical} (lower(name), n DESC)
           WHERE name <> '{physical}' AND name <> ' ON "people_g1" (it''s)'"#
    )
}

pub(super) async fn added(subject: &Subject, generation: Generation, next: &Definition) -> Vec<UserAddition> {
    let live = subject.generation(generation).await;
    subject.store.additions(&live, next).await.expect("additions can be read")
}

/// What was added and what becomes of it.
fn told(additions: &[UserAddition]) -> Vec<(&str, AdditionFate)> {
    additions.iter().map(|added| (added.what.as_str(), added.fate)).collect()
}

async fn carry(subject: &Subject, begun: &mut Begun, live: Generation) -> Vec<String> {
    let (live, next) = (subject.generation(live).await, subject.generation(begun.generation).await);
    begun.lead.carry_indexes(&live, &next).await.expect("the store is there")
}

/// Builds the next generation with the indexes of the live one, and lets readers see it.
async fn rebuild(subject: &Subject, definition: &Definition, live: Generation) -> Generation {
    let mut begun = begin(subject, definition, &empty()).await;
    let next = begun.generation;
    begun.lead.index(definition, next).await.expect("indexes");
    for _ in 0..2 {
        assert_eq!(carry(subject, &mut begun, live).await, Vec::<String>::new());
    }
    begun.ready().await;
    assert_eq!(begun.swap(subject, live, next).await, Ok(SwapOutcome::Done));
    next
}

pub(super) async fn what_readcast_made_is_no_addition(subject: &Subject) {
    let pair = TableSpec::new("pairs").key("one", ColumnType::Text).key("other", ColumnType::Text);
    let full = people()
        .with_default("noted", ColumnType::Timestamp, readcast_core::Timestamp::from_micros(0).expect("a time"))
        .with_default("sum", ColumnType::Decimal { scale: 2 }, 0)
        .index(["n", "name"])
        .storage("fillfactor", 70)
        .storage("toast.autovacuum_enabled", false);
    let definition = definition([pair, full]);
    subject.store.prepare(&definition).await.expect("tables");
    assert_eq!(added(subject, Generation(1), &definition).await, []);
    let next = rebuild(subject, &definition, Generation(1)).await;
    assert_eq!(added(subject, next, &definition).await, []);
}

pub(super) async fn indexes_of_users_survive_rebuilds_and_rollbacks(subject: &Subject) {
    let definition = definition([people()]);
    subject.store.prepare(&definition).await.expect("tables");
    let physical = subject.physical(&people());
    subject.execute(&intricate(&physical)).await;
    subject.execute(&format!("CREATE INDEX by_n ON {physical} (n)")).await;
    subject.execute(&format!("CREATE INDEX by_n_g2 ON {physical} (n, name)")).await;
    let first = added(subject, Generation(1), &definition).await;
    let carriable = |names: [&'static str; 3]| names.map(|name| (name, AdditionFate::Carriable));
    assert_eq!(told(&first), carriable([r#"index "by ""name""""#, r#"index "by_n""#, r#"index "by_n_g2""#]));
    let declared: Vec<_> = first.iter().map(|added| added.declaration.as_deref()).collect();
    assert_eq!(declared, [None, Some(r#".index(["n"])"#), Some(r#".index(["n", "name"])"#)]);

    rebuild(subject, &definition, Generation(1)).await;
    let second = added(subject, Generation(2), &definition).await;
    let names = [r#"index "by ""name""_g2""#, r#"index "by_n_g2_2""#, r#"index "by_n_g2_g2""#];
    assert_eq!(told(&second), carriable(names), "`by_n_g2` was taken");
    for (before, after) in first.iter().zip(&second) {
        let behind = |added: &UserAddition| added.statement.split_once('(').expect("a list of columns").1.to_owned();
        assert_eq!(behind(before), behind(after));
        assert!(after.statement.contains("people_g2") && before.on != after.on, "{after:?}");
    }

    let mut begun = begin(subject, &definition, &empty()).await;
    begun.ready().await;
    assert_eq!(begun.swap(subject, Generation(2), Generation(1)).await, Ok(SwapOutcome::Done));
    begun.lead.end(begun.generation, None).await.expect("an end");
    drop(begun);
    assert_eq!(told(&added(subject, Generation(1), &definition).await), told(&first));
    let fourth = rebuild(subject, &definition, Generation(1)).await;
    let names = [r#"index "by ""name""_g4""#, r#"index "by_n_g2_g4""#, r#"index "by_n_g4""#];
    assert_eq!(told(&added(subject, fourth, &definition).await), carriable(names));
}

pub(super) async fn a_carried_index_does_what_it_did(subject: &Subject) {
    let definition = definition([people()]);
    subject.store.prepare(&definition).await.expect("tables");
    subject.execute(&intricate(&subject.physical(&people()))).await;
    let next = rebuild(subject, &definition, Generation(1)).await;
    let mut lane = Lane::feed(subject, &definition, next, 0).await;
    let named = |id: i64, name: &str| {
        changes(&[people()], |changes| {
            changes.upsert("people", [id]).set("name", name).set("n", 1);
        })
    };
    lane.commit(named(1, "Ann")).await.expect("a row");
    lane.commit(named(2, "Bob")).await.expect("another");
    assert!(lane.commit(named(3, "ANN")).await.is_err(), "the name is there in another case");
    let exempt = subject.physical(&people());
    lane.commit(named(4, &exempt)).await.expect("rows with this text are left out of the index");
    lane.commit(named(5, &exempt)).await.expect("as many as there are");
}

pub(super) async fn an_index_that_is_declared_meanwhile_is_not_made_twice(subject: &Subject) {
    let before = definition([people()]);
    subject.store.prepare(&before).await.expect("tables");
    let physical = subject.physical(&people());
    subject.execute(&format!(r#"CREATE INDEX by_n ON {physical}("n")"#)).await;
    subject.execute(&format!("CREATE INDEX again ON {physical} (n)")).await;
    let after = versioned(2, [people().index(["n"])]);
    let next = rebuild(subject, &after, Generation(1)).await;
    assert_eq!(added(subject, next, &after).await, []);
}

pub(super) async fn an_index_that_cannot_be_made_is_named_and_the_others_are_there(subject: &Subject) {
    let gone = TableSpec::new("gone").key("id", ColumnType::I64);
    let before = versioned(1, [people().nullable("note", ColumnType::Text), gone.clone()]);
    subject.store.prepare(&before).await.expect("tables");
    let physical = subject.physical(&people());
    for statement in [
        format!("CREATE INDEX a_of_the_note ON {physical} (lower(note))"),
        format!("CREATE UNIQUE INDEX b_of_n ON {physical} (n)"),
        format!("CREATE INDEX c_of_n ON {physical} (n, id)"),
        format!("CREATE INDEX d_of_gone ON {} (id)", subject.physical(&gone)),
    ] {
        subject.execute(&statement).await;
    }
    let after = versioned(2, [people()]);
    let fates: Vec<_> = added(subject, Generation(1), &after).await.into_iter().map(|added| added.fate).collect();
    assert_eq!(
        fates,
        [AdditionFate::Lost, AdditionFate::Carriable, AdditionFate::Carriable, AdditionFate::Carriable],
        "those of tables that go come first"
    );
    let mut begun = begin(subject, &after, &empty()).await;
    let next = begun.generation;
    let built = subject.physical_of(&people(), next);
    subject.execute(&format!("INSERT INTO {built} (id, n) VALUES (1, 7), (2, 7)")).await;
    let failed = carry(subject, &mut begun, Generation(1)).await;
    assert_eq!(failed.len(), 2, "{failed:#?}");
    assert!(failed[0].contains("a_of_the_note") && failed[0].contains("note"), "{failed:#?}");
    assert!(failed[1].contains("b_of_n") && failed[1].to_lowercase().contains("unique"), "{failed:#?}");
    begun.ready().await;
    assert_eq!(begun.swap(subject, Generation(1), next).await, Ok(SwapOutcome::Done));
    assert_eq!(told(&added(subject, next, &after).await), [(r#"index "c_of_n_g2""#, AdditionFate::Carriable)]);
}

/// A trigger on a table, and one in place of writing a view, as the store's language has them.
pub(super) async fn triggers_are_named_on_tables_and_on_views(subject: &Subject) {
    let definition = definition([people()]);
    subject.store.prepare(&definition).await.expect("tables");
    let physical = subject.physical(&people());
    if subject.is_postgres() {
        let function = "CREATE FUNCTION ping() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'";
        subject.execute(function).await;
        let tell = format!("CREATE TRIGGER tell AFTER INSERT ON {physical} EXECUTE FUNCTION ping()");
        subject.execute(&tell).await;
        subject
            .execute("CREATE TRIGGER instead INSTEAD OF DELETE ON people FOR EACH ROW EXECUTE FUNCTION ping()")
            .await;
    } else {
        subject.execute(&format!("CREATE TRIGGER tell AFTER INSERT ON {physical} BEGIN SELECT 1; END")).await;
        subject.execute("CREATE TRIGGER instead INSTEAD OF DELETE ON people BEGIN SELECT 1; END").await;
    }
    let found = added(subject, Generation(1), &definition).await;
    let named = |part: &str| found.iter().find(|added| added.what.contains(part)).expect("it is named");
    assert_eq!(found.len(), 2, "{found:#?}");
    let tell = named("tell");
    assert_eq!(tell.fate, AdditionFate::Lost);
    assert!(tell.statement.starts_with("CREATE TRIGGER tell AFTER INSERT ON"), "{tell:?}");
    assert!(tell.sentence().contains("is lost at the next swap"), "{}", tell.sentence());
    // A view of Postgres is replaced in place; one of SQLite is dropped, and its triggers with it.
    assert_eq!(named("instead").fate, if subject.is_postgres() { AdditionFate::Kept } else { AdditionFate::Lost });
}

/// One of each kind that Postgres has, on `{t}`; the second table is there for what excludes the first.
const ON_POSTGRES: [(&str, &str); 28] = [
    (
        "trigger tell",
        "CREATE TRIGGER tell AFTER INSERT ON {t} EXECUTE FUNCTION ping(); ALTER TABLE {t} DISABLE TRIGGER tell",
    ),
    ("rule \"r x\"", "CREATE RULE \"r x\" AS ON DELETE TO {t} DO ALSO NOTIFY x"),
    ("constraint named", "ALTER TABLE {t} ADD CONSTRAINT named CHECK (name <> 'people_g1') NOT VALID"),
    ("constraint people_g1_one", "ALTER TABLE {t} ADD CONSTRAINT people_g1_one UNIQUE (name, n)"),
    (
        "statistics people_g1_stat",
        "CREATE STATISTICS readcast_tables.people_g1_stat (dependencies) ON name, n FROM {t}",
    ),
    ("storage parameter fillfactor", "ALTER TABLE {t} SET (fillfactor = 60)"),
    ("storage parameter toast.autovacuum_enabled", "ALTER TABLE {t} SET (toast.autovacuum_enabled = off)"),
    ("replica identity", "ALTER TABLE {t} REPLICA IDENTITY FULL"),
    ("row-level security", "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY"),
    ("row-level security for the owner", "ALTER TABLE {t} FORCE ROW LEVEL SECURITY"),
    (
        "policy \"mine \"\"x\"\"\"",
        "CREATE POLICY \"mine \"\"x\"\"\" ON {t} AS RESTRICTIVE FOR UPDATE USING (name = current_user) WITH CHECK (n > 0)",
    ),
    ("membership in publication few", "ALTER PUBLICATION few ADD TABLE {t} (id, name) WHERE (id > 5)"),
    ("parent old", "ALTER TABLE {t} INHERIT old"),
    ("child young", "CREATE TABLE young () INHERITS ({t})"),
    ("statistics target of column name", "ALTER TABLE {t} ALTER COLUMN name SET STATISTICS 7"),
    ("storage of column name", "ALTER TABLE {t} ALTER COLUMN name SET STORAGE EXTERNAL"),
    ("compression of column name", "ALTER TABLE {t} ALTER COLUMN name SET COMPRESSION pglz"),
    ("options of column n", "ALTER TABLE {t} ALTER COLUMN n SET (n_distinct = 5)"),
    ("default of column n", "ALTER TABLE {t} ALTER COLUMN n SET DEFAULT 3"),
    ("identity of column id", "ALTER TABLE {t} ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY"),
    ("comment", "COMMENT ON TABLE {t} IS 'it''s'"),
    ("comment on column n", "COMMENT ON COLUMN {t}.n IS 'n'"),
    ("privilege SELECT for PUBLIC", "GRANT SELECT ON {t} TO PUBLIC"),
    ("privilege UPDATE (name) for PUBLIC", "GRANT UPDATE (name) ON {t} TO PUBLIC"),
    ("clustering by people_g1_pkey", "ALTER TABLE {t} CLUSTER ON people_g1_pkey"),
    ("unlogged", "ALTER TABLE {u} SET UNLOGGED"),
    ("replica identity", "ALTER TABLE {u} REPLICA IDENTITY USING INDEX other_g1_pkey"),
    ("privilege INSERT for PUBLIC", "GRANT INSERT ON {u} TO PUBLIC"),
];

#[tokio::test]
async fn what_is_added_on_postgres_is_named_with_a_statement_that_adds_it_again() {
    let subject = Subject::postgres().await;
    let other = TableSpec::new("other").key("id", ColumnType::I64);
    let definition = definition([people(), other.clone()]);
    subject.store.prepare(&definition).await.expect("tables");
    for statement in [
        "CREATE FUNCTION ping() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE PUBLICATION few",
        "CREATE TABLE old (name text)",
    ] {
        subject.execute(statement).await;
    }
    let [t, u] = [people(), other].map(|table| subject.physical(&table));
    for (_, statement) in ON_POSTGRES {
        subject.execute(&statement.replace("{t}", &t).replace("{u}", &u)).await;
    }
    let first = added(&subject, Generation(1), &definition).await;
    let mut expected: Vec<&str> = ON_POSTGRES.iter().map(|(what, _)| *what).collect();
    let mut found: Vec<&str> = first.iter().map(|added| added.what.as_str()).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert!(first.iter().all(|added| added.fate == AdditionFate::Lost), "{first:#?}");

    // What a rebuild loses is typed again, as it is told, for the tables that came with it.
    rebuild(&subject, &definition, Generation(1)).await;
    assert_eq!(added(&subject, Generation(2), &definition).await, []);
    let second = |text: &str| text.replace("people_g1", "people_g2").replace("other_g1", "other_g2");
    for added in &first {
        let statement = if added.what.starts_with("constraint named") {
            added.statement.replacen("people_g1", "people_g2", 1)
        } else {
            second(&added.statement)
        };
        subject.execute(&statement).await;
    }
    let restored = added(&subject, Generation(2), &definition).await;
    let mut wanted: Vec<_> = first.iter().map(|added| second(&added.what)).collect();
    let mut found: Vec<_> = restored.iter().map(|added| added.what.clone()).collect();
    wanted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, wanted);
}

/// What can be on a view, and whether it stays where the view has to be made anew.
const ON_A_VIEW: [(&str, &str, bool); 9] = [
    ("comment", "COMMENT ON VIEW people IS 'all'", true),
    ("comment on column n", "COMMENT ON COLUMN people.n IS 'n'", false),
    ("default of column n", "ALTER VIEW people ALTER COLUMN n SET DEFAULT 3", false),
    ("option security_barrier", "ALTER VIEW people SET (security_barrier)", true),
    ("option security_invoker", "ALTER VIEW people SET (security_invoker)", true),
    ("privilege SELECT (n) for PUBLIC", "GRANT SELECT (n) ON people TO PUBLIC", true),
    ("privilege SELECT for PUBLIC", "GRANT SELECT ON people TO PUBLIC", true),
    ("rule aside", "CREATE RULE aside AS ON UPDATE TO people DO INSTEAD NOTHING", false),
    (
        "trigger instead",
        "CREATE TRIGGER instead INSTEAD OF INSERT ON people FOR EACH ROW EXECUTE FUNCTION ping()",
        false,
    ),
];

#[tokio::test]
async fn what_is_added_to_a_view_on_postgres_stays_or_goes_as_it_was_told() {
    let subject = Subject::postgres().await;
    let before = versioned(1, [people()]);
    subject.store.prepare(&before).await.expect("tables");
    subject.execute("CREATE FUNCTION ping() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'").await;
    for (_, statement, _) in ON_A_VIEW {
        subject.execute(statement).await;
    }
    let all: Vec<_> = ON_A_VIEW.iter().map(|(what, _, _)| (*what, AdditionFate::Kept)).collect();
    let wider = versioned(2, [people().nullable("more", ColumnType::Text)]);
    assert_eq!(told(&added(&subject, Generation(1), &wider).await), all);
    rebuild(&subject, &wider, Generation(1)).await;
    let fate = |stays| if stays { AdditionFate::Kept } else { AdditionFate::Lost };
    let with_fates: Vec<_> = ON_A_VIEW.iter().map(|(what, _, stays)| (*what, fate(*stays))).collect();
    let narrower = versioned(3, [people()]);
    assert_eq!(told(&added(&subject, Generation(2), &narrower).await), with_fates);
    rebuild(&subject, &narrower, Generation(2)).await;
    let stayed: Vec<_> =
        all.into_iter().zip(ON_A_VIEW).filter(|(_, (_, _, stays))| *stays).map(|(told, _)| told).collect();
    assert_eq!(told(&added(&subject, Generation(3), &narrower).await), stayed);
}

#[tokio::test]
async fn what_the_database_gives_to_every_new_table_is_no_addition() {
    let subject = Subject::postgres().await;
    subject.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA readcast_tables GRANT SELECT ON TABLES TO PUBLIC").await;
    let definition = definition([people()]);
    subject.store.prepare(&definition).await.expect("tables");
    assert_eq!(added(&subject, Generation(1), &definition).await, []);
}

/// What is left of a `CREATE INDEX CONCURRENTLY` serves nobody and is not carried; all other parts of an index are.
#[tokio::test]
async fn every_part_of_an_index_on_postgres_is_carried() {
    let subject = Subject::postgres().await;
    let definition = definition([people()]);
    subject.store.prepare(&definition).await.expect("tables");
    for statement in [
        "CREATE INDEX covering ON readcast_tables.people_g1 (n DESC NULLS LAST, name text_pattern_ops) INCLUDE (id)
         WITH (fillfactor = 70)",
        "CREATE INDEX collated ON readcast_tables.people_g1 (name COLLATE \"C\", (name || 'x') COLLATE \"POSIX\")",
        "CREATE INDEX ON readcast_tables.people_g1 USING brin (n int8_minmax_multi_ops (values_per_range = 16))",
        "CREATE UNIQUE INDEX nulls ON readcast_tables.people_g1 (name, n) NULLS NOT DISTINCT",
        "COMMENT ON INDEX readcast_tables.covering IS 'it''s'",
        "ALTER INDEX readcast_tables.collated ALTER COLUMN 2 SET STATISTICS 500",
        "CREATE INDEX unfinished ON readcast_tables.people_g1 (n, id)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'readcast_tables.unfinished'::regclass",
    ] {
        subject.execute(statement).await;
    }
    let (unfinished, first): (Vec<_>, Vec<_>) = added(&subject, Generation(1), &definition)
        .await
        .into_iter()
        .partition(|added| added.what.starts_with("invalid index"));
    assert_eq!(
        (told(&unfinished), first.len()),
        (vec![(r#"invalid index "unfinished""#, AdditionFate::Lost)], 4),
        "{first:#?}"
    );
    rebuild(&subject, &definition, Generation(1)).await;
    let second = added(&subject, Generation(2), &definition).await;
    let bare = |added: &UserAddition| added.statement.replace("_g1", "").replace("_g2", "");
    assert_eq!(first.iter().map(bare).collect::<Vec<_>>(), second.iter().map(bare).collect::<Vec<_>>());
}
