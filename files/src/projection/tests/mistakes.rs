//! Every mistake is named with its line.

use super::{VISITS, problems};

/// The file with another rule.
fn rule(rule: &str) -> String {
    let (before, _) = VISITS.split_once("[[on]]").expect("it has a rule");
    before.to_owned() + rule
}

/// A faulty text, and a part of what is said about it.
fn mistakes() -> Vec<(String, &'static str)> {
    [of_tables(), of_rules()].concat()
}

fn of_tables() -> Vec<(String, &'static str)> {
    vec![
        ("topics = \n".to_owned(), "visits.toml:1:10: "),
        (
            VISITS.replace("topics", "topic"),
            "visits.toml:2:1: `topic` is not a key of `the file` (did you mean `topics`?)",
        ),
        (
            VISITS.replace("columns.page", "column.page"),
            "`column` is not a key of `tables.visits` (did you mean `columns`?)",
        ),
        (
            VISITS.replace("\"json null\"", "\"jsonb null\""),
            "visits.toml:10:15: `jsonb` is not a type of columns (write `json`)",
        ),
        (VISITS.replace("\"json null\"", "\"tekst\""), "`tekst` is not a type of columns (did you mean `text`?)"),
        (VISITS.replace("\"json null\"", "\"json nil\""), "`nil` is not understood (write `TYPE`, `TYPE null`"),
        (VISITS.replace("default 0", "default 'x'"), "the default 'x': a text is not an i64: write int(…)"),
        (VISITS.replace("default 0", "default data.x"), "the default data.x: a default is a number"),
        (
            VISITS.replace("key = \"page\"", "key = \"pages\""),
            "visits.toml:5:7: the key column `pages` is not declared (did you mean `page`?)",
        ),
    ]
}

fn of_rules() -> Vec<(String, &'static str)> {
    vec![
        (VISITS.replace("event = ", "types = "), "visits.toml:13:1: `types` is not a key of `on`"),
        (
            VISITS.replace("upsert = \"visits\"\n", ""),
            "visits.toml:12:1: the rule changes no table (write one of upsert",
        ),
        (
            VISITS.replace("add.count", "add.counts"),
            "visits.toml:16:5: table `visits` has no column `counts` (did you mean `count`?)",
        ),
        (VISITS.replace("add.count", "add.page"), "`page` is a part of the key, which does not change"),
        (VISITS.replace("add.count", "add.title"), "column `title` holds text: `add` takes integers and decimals"),
        (
            VISITS.replace("add.count = \"1\"", "add.count = \"'one'\""),
            "column `count` holds i64, not a text (write int(…))",
        ),
        (VISITS.replace("add.count = \"1\"", "add.count = \"1.5\""), "1.5 is not an integer of 64 bits"),
        (
            VISITS.replace("add.count = \"1\"", "add.count = 1"),
            "visits.toml:16:13: `add.count` must be a text in quotes",
        ),
        (VISITS.replace("add.count = \"1\"", "set.last = \"date(time)\""), "column `last` holds timestamp, not a date"),
        (
            VISITS.replace("key = \"data.page\"", "key = [\"data.page\", \"1\"]"),
            "the key of `visits` is page (write a list of 1 expression",
        ),
        (
            VISITS.replace("columns.title = \"text null\"", "columns.title = \"text\""),
            "`upsert` may create the row, and sets no `title`",
        ),
        (VISITS.to_owned() + "when = \"type\"\n", "`when` must be true or false, not a text"),
        (VISITS.to_owned() + "newer.title = \"type\"\n", "the table has no columns that `newer` compares"),
        (
            rule("[[on]]\nevent = \"V\"\ndelete = \"visits\"\nkey = \"key\"\nset.title = \"''\""),
            "`delete` has no `set`: the row is gone",
        ),
        (rule("[[on]]\nevent = \"V\"\nupdate_where = \"visits\"\nset.title = \"''\""), "`on` has no `where`"),
        (
            rule("[[on]]\nevent = \"V\"\nreplace_children = \"visits\"\nkey = \"key\""),
            "the key of children has more columns",
        ),
        (rule(""), "visits.toml:1:1: the projection has no rule"),
        (
            VISITS.replace("topics = \"site\"", "topics = \"site\"\nignore = \"VISITED\""),
            "is in both `event_types` and `ignored_types`",
        ),
    ]
}

#[test]
fn every_mistake_in_a_file_is_named_with_its_line() {
    for (text, problem) in mistakes() {
        let found = problems(&text);
        assert!(found.contains(problem), "{text}\n{found}");
    }
    let several =
        VISITS.replace("data.page", "dat.page").replace("columns.last = \"timestamp null\"", "columns.last = \"time\"");
    assert_eq!(problems(&several).lines().count(), 2, "both are named at once");
}
