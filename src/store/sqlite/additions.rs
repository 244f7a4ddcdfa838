//! What users added to the live tables and to the views of them, and how their indexes come to the next generation's
//! tables.
//!
//! SQLite keeps the statements as they were typed. They are taken apart by their words, never by the names in them: those
//! stand in texts too.

use readcast_core::{Definition, TableSpec};
use sqlx::{AssertSqlSafe, Executor, SqliteConnection};

use super::connection::{Connection, at};
use super::sql::{self, quoted};
use crate::store::addition::carried_names;
use crate::store::comparison::pairs;
use crate::store::{AdditionFate, Generation, GenerationStatus, StoreError, UserAddition};

/// What users added around the live tables, and what a swap to tables like those of `next` makes of it. A swap drops the
/// views, and with each the triggers on it.
pub(super) async fn additions(
    connection: &mut SqliteConnection,
    live: &GenerationStatus,
    next: &Definition,
) -> Result<Vec<UserAddition>, StoreError> {
    let mut found = Vec::new();
    for pair in pairs(&live.tables, next.tables()) {
        let Some(table) = pair.live else { continue };
        let physical = sql::physical(table, live.generation);
        let fate = if pair.other.is_some() { AdditionFate::Carriable } else { AdditionFate::Lost };
        for (name, statement) in added(connection, table, live.generation).await? {
            let declaration = Index::parse(&statement, &physical).and_then(|index| index.declaration());
            let what = format!("index {}", quoted(&name));
            found.push(UserAddition { on: physical.clone(), what, statement, declaration, fate });
        }
        for on in [&physical, table.name()] {
            let triggers = objects(connection, "trigger", on).await?.into_iter();
            found.extend(triggers.map(|(name, statement)| UserAddition {
                on: on.to_owned(),
                what: format!("trigger {}", quoted(&name)),
                statement,
                declaration: None,
                fate: AdditionFate::Lost,
            }));
        }
    }
    Ok(found)
}

/// Gives the tables of `next` the indexes that users made on those of `live`, those that they have excepted. Why one
/// could not be made, a sentence each. Each is made in a turn of its own, so that the lanes get theirs in between.
pub(super) async fn carry(
    writes: &Connection,
    live: &GenerationStatus,
    next: &GenerationStatus,
) -> Result<Vec<String>, StoreError> {
    let mut failed = Vec::new();
    for pair in pairs(&live.tables, &next.tables) {
        // With a table that goes away its indexes go too.
        let (Some(from), Some(to)) = (pair.live, pair.other) else { continue };
        let (old, new) = (sql::physical(from, live.generation), sql::physical(to, next.generation));
        let mut turn = writes.turn().await?;
        let there = objects(&mut turn, "index", &new).await?;
        let added = added(&mut turn, from, live.generation).await?;
        turn.end();
        let mut there: Vec<Index> = there.iter().filter_map(|(_, sql)| Index::parse(sql, &new)).collect();
        let mut made = false;
        for (name, index) in added.iter().filter_map(|(name, sql)| Some((name, Index::parse(sql, &old)?))) {
            if there.iter().any(|other| other.is_like(&index)) {
                continue;
            }
            match carry_one(writes, name, &index, to, live.generation, next.generation).await {
                Ok(()) => made = true,
                Err(StoreError::Refused { reason, .. }) => {
                    failed.push(format!("index {} on {old}: {reason}", quoted(name)));
                }
                Err(other) => return Err(other),
            }
            there.push(index);
        }
        if made {
            run(writes, to, sql::analyze(to, next.generation)).await?;
        }
    }
    Ok(failed)
}

async fn carry_one(
    writes: &Connection,
    name: &str,
    index: &Index,
    table: &TableSpec,
    from: Generation,
    to: Generation,
) -> Result<(), StoreError> {
    const TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)";
    for name in carried_names(name, table.name(), from, to) {
        let mut turn = writes.turn().await?;
        let taken = sqlx::query_scalar(TAKEN).bind(&name).fetch_one(&mut *turn).await;
        let taken: bool = taken.map_err(at("looking for the name of an index"))?;
        turn.end();
        if !taken {
            return run(writes, table, index.statement(&name, &sql::physical(table, to))).await;
        }
    }
    Ok(())
}

async fn run(writes: &Connection, table: &TableSpec, statement: String) -> Result<(), StoreError> {
    let mut turn = writes.turn().await?;
    let done = turn.execute(AssertSqlSafe(statement)).await;
    done.map_err(at(format!("keeping the indexes of table `{}`", table.name())))?;
    turn.end();
    Ok(())
}

/// The indexes that users made on a generation's table: their names, and the statements that made them.
async fn added(
    connection: &mut SqliteConnection,
    table: &TableSpec,
    generation: Generation,
) -> Result<Vec<(String, String)>, StoreError> {
    let ours: Vec<String> = sql::index_names(table, generation).collect();
    let mut indexes = objects(connection, "index", &sql::physical(table, generation)).await?;
    indexes.retain(|(name, _)| !ours.contains(name));
    Ok(indexes)
}

/// The objects of this kind that somebody made on a table or view. Those that come with a key have no statement.
async fn objects(connection: &mut SqliteConnection, kind: &str, on: &str) -> Result<Vec<(String, String)>, StoreError> {
    const OBJECTS: &str = "
        SELECT name, sql FROM sqlite_schema
        WHERE type = ?1 AND tbl_name = ?2 COLLATE NOCASE AND sql IS NOT NULL ORDER BY name";
    let objects = sqlx::query_as(OBJECTS).bind(kind).bind(on).fetch_all(connection).await;
    objects.map_err(at(format!("looking for what was added to {on}")))
}

/// The parts of a statement that makes an index.
struct Index {
    unique: bool,
    /// All that stands behind the name of the table, as it was typed.
    definition: String,
}

impl Index {
    /// Of a statement as SQLite keeps it: `CREATE [UNIQUE] INDEX name ON table …`, with one word for each name.
    fn parse(statement: &str, table: &str) -> Option<Self> {
        let words = words(statement);
        let mut read = words.iter().enumerate().filter(|(_, word)| !is_blank(word));
        let unique =
            read.by_ref().map(|(_, word)| word).find(|word| is_named(word, "index") || is_named(word, "unique"));
        let unique = is_named(unique?, "unique");
        let (last, _) = read.nth(if unique { 3 } else { 2 })?;
        Some(Self { unique, definition: unqualified(&words[last + 1..], table) })
    }

    fn statement(&self, name: &str, table: &str) -> String {
        let unique = if self.unique { "UNIQUE " } else { "" };
        format!("CREATE {unique}INDEX {} ON {} {}", quoted(name), quoted(table), self.definition.trim())
    }

    /// Whether the other one, of another table, does the same.
    fn is_like(&self, other: &Index) -> bool {
        self.unique == other.unique && self.meaning() == other.meaning()
    }

    /// The words without blanks, in one way of writing them.
    fn meaning(&self) -> Vec<String> {
        words(&self.definition).into_iter().filter(|word| !is_blank(word)).map(name).collect()
    }

    /// How a table declares it, if it is no more than columns.
    fn declaration(&self) -> Option<String> {
        let words = self.meaning();
        let [open, columns @ .., close] = words.as_slice() else { return None };
        let is_list = open == "(" && close == ")" && columns.iter().skip(1).step_by(2).all(|word| word == ",");
        let columns: Vec<&String> = columns.iter().step_by(2).collect();
        let are_names = columns.iter().all(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'));
        (!self.unique && is_list && are_names).then(|| format!(".index({columns:?})"))
    }
}

/// The text of these words without the name of the table in front of its columns.
fn unqualified(words: &[&str], table: &str) -> String {
    let mut text = String::new();
    let mut rest = words;
    while let Some((word, behind)) = rest.split_first() {
        if let [".", after @ ..] = behind
            && is_named(word, table)
        {
            rest = after;
            continue;
        }
        text.push_str(word);
        rest = behind;
    }
    text
}

/// Whether the word is this name, quoted or not. SQLite folds the case of both.
fn is_named(word: &str, wanted: &str) -> bool {
    !word.starts_with('\'') && name(word) == wanted.to_lowercase()
}

/// What a word names, in one way of writing it; texts, numbers and signs stay as they are.
fn name(word: &str) -> String {
    let inner = |end: char| word.get(1..word.len().saturating_sub(end.len_utf8())).unwrap_or_default();
    match word.chars().next() {
        Some('\'') => word.to_owned(),
        Some(quote @ ('"' | '`')) => {
            inner(quote).replace(&format!("{quote}{quote}"), &quote.to_string()).to_lowercase()
        }
        Some('[') => inner(']').to_lowercase(),
        _ => word.to_lowercase(),
    }
}

fn is_blank(word: &str) -> bool {
    word.starts_with("--") || word.starts_with("/*") || word.chars().all(char::is_whitespace)
}

/// The words of a statement, which together are the statement: blanks, comments, texts, names and numbers, signs.
fn words(statement: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = statement;
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(word_length(rest));
        words.push(word);
        rest = behind;
    }
    words
}

/// How many bytes the first word of a text takes that is not empty.
fn word_length(text: &str) -> usize {
    let up_to = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |found| from + found + end.len());
    let while_all = |is: fn(char) -> bool| text.find(|c| !is(c)).unwrap_or(text.len());
    match text.chars().next() {
        _ if text.starts_with("--") => up_to("\n", 2),
        _ if text.starts_with("/*") => up_to("*/", 2),
        Some('[') => up_to("]", 1),
        Some(quote @ ('\'' | '"' | '`')) => quoted_length(text, quote),
        Some(c) if c.is_whitespace() => while_all(char::is_whitespace),
        Some(c) if is_of_a_name(c) => while_all(is_of_a_name),
        first => first.map_or(1, char::len_utf8),
    }
}

/// The same for what stands in quotes, in which a quote is written twice.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut length = 1;
    loop {
        let Some(found) = text[length..].find(quote) else { return text.len() };
        length += found + 1;
        match text[length..].strip_prefix(quote) {
            Some(_) => length += 1,
            None => return length,
        }
    }
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(statement: &str) -> String {
        Index::parse(statement, "t_g1").expect("an index").statement("new", "t_g2")
    }

    #[test]
    fn an_index_is_made_again_on_another_table_whatever_its_names_and_texts_hold() {
        for (statement, expected) in [
            ("CREATE INDEX i ON t_g1(a)", r#"CREATE INDEX "new" ON "t_g2" (a)"#),
            (
                r#"CREATE UNIQUE INDEX "by ""q"" ON" /* on */ on -- y
                   "t_g1" (lower(a), b DESC) WHERE a <> 't_g1" on ('"#,
                r#"CREATE UNIQUE INDEX "new" ON "t_g2" (lower(a), b DESC) WHERE a <> 't_g1" on ('"#,
            ),
            ("CREATE INDEX [on] on 't_g1'(b COLLATE NOCASE)", r#"CREATE INDEX "new" ON "t_g2" (b COLLATE NOCASE)"#),
            ("CREATE INDEX `t_g1` ON T_G1(b) where t_g1.b > 0", r#"CREATE INDEX "new" ON "t_g2" (b) where b > 0"#),
            (
                r#"CREATE INDEX é ON t_g1 (a) WHERE "T_G1".a = 't_g1.a' OR a = 'it''s'"#,
                r#"CREATE INDEX "new" ON "t_g2" (a) WHERE a = 't_g1.a' OR a = 'it''s'"#,
            ),
        ] {
            assert_eq!(carried(statement), expected);
        }
    }

    #[test]
    fn indexes_that_do_the_same_are_known() {
        let index = |statement| Index::parse(statement, "t_g1").expect("an index");
        let first = index("CREATE INDEX a ON t_g1 (status, \"A\")");
        assert!(first.is_like(&index("CREATE INDEX b ON t_g1(\"status\",\n a /* both */)")));
        assert!(!first.is_like(&index("CREATE UNIQUE INDEX b ON t_g1 (status, a)")));
        assert!(
            !index("CREATE INDEX a ON t_g1 (a) WHERE a = 'X'")
                .is_like(&index("CREATE INDEX a ON t_g1 (a) WHERE a = 'x'"))
        );
        assert_eq!(first.declaration().as_deref(), Some(r#".index(["status", "a"])"#));
        for more in [
            "CREATE UNIQUE INDEX a ON t_g1 (a)",
            "CREATE INDEX a ON t_g1 (a DESC)",
            "CREATE INDEX a ON t_g1 (lower(a))",
        ] {
            assert_eq!(index(more).declaration(), None, "{more}");
        }
    }

    #[test]
    fn the_words_of_any_text_are_that_text() {
        for text in ["", "'open", "\"open", "[open", "/* open", "-- open", "'a''", "é'ü\"[", "a.b--c\nd", "''''"] {
            assert_eq!(words(text).concat(), text);
        }
    }
}
