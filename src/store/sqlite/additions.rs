//! Finds the objects that users added to the live tables and their views, and copies users' indexes to the next
//! generation's tables.
//!
//! SQLite stores the original statements. This module parses their tokens. Replacing names in the text would be wrong,
//! because names also occur in string literals.

use readcast_core::{Definition, ReadView, TableSpec};
use sqlx::{AssertSqlSafe, Executor, SqliteConnection};

use super::connection::{Connection, at};
use super::sql::{self, quoted};
use crate::store::addition::carried_names;
use crate::store::comparison::pairs;
use crate::store::{AdditionFate, Generation, GenerationStatus, StoreError, UserAddition};

/// The objects that users added to the live tables and views, and the effect of a swap to the tables of `next` on them.
/// A swap drops the views with their triggers.
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
        let views = table.views().iter().map(ReadView::name);
        for on in [&*physical, table.name()].into_iter().chain(views) {
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

/// Creates the users' indexes of the tables of `live` on the tables of `next`, unless an equivalent index exists.
/// Returns a sentence for each index that could not be created. Each index is created in its own turn, so that lanes
/// can commit in between.
pub(super) async fn carry(
    writes: &Connection,
    live: &GenerationStatus,
    next: &GenerationStatus,
) -> Result<Vec<String>, StoreError> {
    let mut failed = Vec::new();
    for pair in pairs(&live.tables, &next.tables) {
        // The indexes of a removed table are removed too.
        let (Some(from), Some(to)) = (pair.live, pair.other) else { continue };
        let (old, new) = (sql::physical(from, live.generation), sql::physical(to, next.generation));
        let mut turn = writes.turn().await?;
        let existing = objects(&mut turn, "index", &new).await?;
        let added = added(&mut turn, from, live.generation).await?;
        turn.end();
        let mut existing: Vec<Index> = existing.iter().filter_map(|(_, sql)| Index::parse(sql, &new)).collect();
        let mut created = false;
        for (name, index) in added.iter().filter_map(|(name, sql)| Some((name, Index::parse(sql, &old)?))) {
            if existing.iter().any(|other| other.is_like(&index)) {
                continue;
            }
            match carry_one(writes, name, &index, to, live.generation, next.generation).await {
                Ok(()) => created = true,
                Err(StoreError::Refused { reason, .. }) => {
                    failed.push(format!("index {} on {old}: {reason}", quoted(name)));
                }
                Err(other) => return Err(other),
            }
            existing.push(index);
        }
        if created {
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
        let taken: bool = taken.map_err(at("checking the name of an index"))?;
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
    done.map_err(at(format!("copying the indexes of table `{}`", table.name())))?;
    turn.end();
    Ok(())
}

/// The indexes that users created on a generation's table: names and CREATE statements.
async fn added(
    connection: &mut SqliteConnection,
    table: &TableSpec,
    generation: Generation,
) -> Result<Vec<(String, String)>, StoreError> {
    let declared: Vec<String> = sql::index_names(table, generation).collect();
    let mut indexes = objects(connection, "index", &sql::physical(table, generation)).await?;
    indexes.retain(|(name, _)| !declared.contains(name));
    Ok(indexes)
}

/// The objects of this kind on a table or view: names and CREATE statements. Indexes of a key have no statement and are
/// left out.
async fn objects(connection: &mut SqliteConnection, kind: &str, on: &str) -> Result<Vec<(String, String)>, StoreError> {
    const OBJECTS: &str = "
        SELECT name, sql FROM sqlite_schema
        WHERE type = ?1 AND tbl_name = ?2 COLLATE NOCASE AND sql IS NOT NULL ORDER BY name";
    let objects = sqlx::query_as(OBJECTS).bind(kind).bind(on).fetch_all(connection).await;
    objects.map_err(at(format!("finding additions to {on}")))
}

/// The parts of a CREATE INDEX statement.
struct Index {
    unique: bool,
    /// The text after the name of the table, as it was typed.
    definition: String,
}

impl Index {
    /// Parses a statement as SQLite stores it: `CREATE [UNIQUE] INDEX name ON table …`, with one token for each name.
    fn parse(statement: &str, table: &str) -> Option<Self> {
        let tokens = tokens(statement);
        let mut read = tokens.iter().enumerate().filter(|(_, token)| !is_blank(token));
        let unique =
            read.by_ref().map(|(_, token)| token).find(|token| is_named(token, "index") || is_named(token, "unique"));
        let unique = is_named(unique?, "unique");
        let (last, _) = read.nth(if unique { 3 } else { 2 })?;
        Some(Self { unique, definition: unqualified(&tokens[last + 1..], table) })
    }

    fn statement(&self, name: &str, table: &str) -> String {
        let unique = if self.unique { "UNIQUE " } else { "" };
        format!("CREATE {unique}INDEX {} ON {} {}", quoted(name), quoted(table), self.definition.trim())
    }

    /// Whether an index of another table is equivalent.
    fn is_like(&self, other: &Index) -> bool {
        self.unique == other.unique && self.normalized() == other.normalized()
    }

    /// The tokens without white space and comments, in a normal form.
    fn normalized(&self) -> Vec<String> {
        tokens(&self.definition).into_iter().filter(|token| !is_blank(token)).map(name).collect()
    }

    /// The declaration in a `TableSpec`, if the index has only plain columns.
    fn declaration(&self) -> Option<String> {
        let tokens = self.normalized();
        let [open, columns @ .., close] = tokens.as_slice() else { return None };
        let is_list = open == "(" && close == ")" && columns.iter().skip(1).step_by(2).all(|token| token == ",");
        let columns: Vec<&String> = columns.iter().step_by(2).collect();
        let are_names = columns.iter().all(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'));
        (!self.unique && is_list && are_names).then(|| format!(".index({columns:?})"))
    }
}

/// The text of these tokens without the table's name before a column.
fn unqualified(tokens: &[&str], table: &str) -> String {
    let mut text = String::new();
    let mut rest = tokens;
    while let Some((token, behind)) = rest.split_first() {
        if let [".", after @ ..] = behind
            && is_named(token, table)
        {
            rest = after;
            continue;
        }
        text.push_str(token);
        rest = behind;
    }
    text
}

/// Whether the token is this name, quoted or not. SQLite ignores the case of both.
fn is_named(token: &str, wanted: &str) -> bool {
    !token.starts_with('\'') && name(token) == wanted.to_lowercase()
}

/// The name that a token denotes, without quotes and in lower case. String literals, numbers and symbols stay
/// unchanged.
fn name(token: &str) -> String {
    let inner = |end: char| token.get(1..token.len().saturating_sub(end.len_utf8())).unwrap_or_default();
    match token.chars().next() {
        Some('\'') => token.to_owned(),
        Some(quote @ ('"' | '`')) => {
            inner(quote).replace(&format!("{quote}{quote}"), &quote.to_string()).to_lowercase()
        }
        Some('[') => inner(']').to_lowercase(),
        _ => token.to_lowercase(),
    }
}

fn is_blank(token: &str) -> bool {
    token.starts_with("--") || token.starts_with("/*") || token.chars().all(char::is_whitespace)
}

/// The tokens of a statement: white space, comments, string literals, names, numbers and symbols. Concatenated they are
/// the statement.
fn tokens(statement: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = statement;
    while !rest.is_empty() {
        let (token, behind) = rest.split_at(token_length(rest));
        tokens.push(token);
        rest = behind;
    }
    tokens
}

/// The length in bytes of the first token of a text that is not empty.
fn token_length(text: &str) -> usize {
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

/// The length in bytes of a quoted token, in which a doubled quote stands for a quote.
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
    fn an_index_is_copied_to_another_table_whatever_names_and_literals_it_contains() {
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
    fn equivalent_indexes_are_recognized() {
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
    fn the_tokens_of_any_text_concatenate_to_that_text() {
        for text in ["", "'open", "\"open", "[open", "/* open", "-- open", "'a''", "é'ü\"[", "a.b--c\nd", "''''"] {
            assert_eq!(tokens(text).concat(), text);
        }
    }
}
