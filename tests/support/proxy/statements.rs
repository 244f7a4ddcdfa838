//! Finds the statement to which a message belongs.

use std::collections::HashMap;

use super::{Moment, Statement, wire};

/// The statements of one connection.
#[derive(Default)]
pub(super) struct Statements {
    /// The prepared statements by name.
    prepared: HashMap<String, String>,
    /// The name of the statement that was prepared last and not executed yet.
    fresh: Option<String>,
    count: u32,
}

/// A message of a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step<'a> {
    sql: &'a str,
    /// The number of the statement on its connection, from 1.
    number: u32,
    /// Whether this is the first message of the statement.
    begins: bool,
    /// Whether the server executes the statement after this message.
    runs: bool,
}

impl Statements {
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The statement to which a frame of the client belongs, if any.
    pub(super) fn step<'a>(&'a mut self, frame: &'a [u8]) -> Option<Step<'a>> {
        let (kind, body) = (*frame.first()?, frame.get(5..)?);
        let (sql, begins, runs) = match kind {
            b'Q' => (wire::text(body)?.0, true, true),
            b'P' => {
                let (name, rest) = wire::text(body)?;
                let (sql, _) = wire::text(rest)?;
                self.prepared.insert(name.to_owned(), sql.to_owned());
                self.fresh = Some(name.to_owned());
                (sql, true, false)
            }
            b'B' => {
                let (_portal, rest) = wire::text(body)?;
                let (name, _) = wire::text(rest)?;
                let begins = self.fresh.take().is_none_or(|fresh| fresh != name);
                (self.prepared.get(name)?.as_str(), begins, true)
            }
            _ => return None,
        };
        self.count += u32::from(begins);
        Some(Step { sql, number: self.count, begins, runs })
    }
}

impl Step<'_> {
    /// Whether this message begins a statement to which `moment`, a moment before it, applies.
    pub(super) fn is_before(&self, moment: Moment) -> bool {
        matches!(moment, Moment::Before(statement) if self.begins && self.is_of(statement))
    }

    /// Whether this message executes a statement to which `moment`, a moment after it, applies.
    pub(super) fn is_after(&self, moment: Moment) -> bool {
        matches!(moment, Moment::After(statement) if self.runs && self.is_of(statement))
    }

    fn is_of(&self, statement: Statement) -> bool {
        match statement {
            Statement::Commit => is_commit(self.sql),
            Statement::With(text) => self.sql.contains(text),
            Statement::Nth(number) => self.number == number,
        }
    }
}

/// Whether the last of these statements is COMMIT.
fn is_commit(sql: &str) -> bool {
    let mut statements = sql.rsplit(';').map(str::trim);
    statements.find(|statement| !statement.is_empty()).is_some_and(|last| last.eq_ignore_ascii_case("COMMIT"))
}
