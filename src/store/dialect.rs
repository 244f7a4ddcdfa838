//! The SQL dialect of readcast's bookkeeping, and its translation for each engine.
//!
//! A statement is written once, in the SQL that PostgreSQL and SQLite share. It uses `$1` for values, `readcast.name`
//! for readcast's own tables, `FOR UPDATE` at its end if it locks rows, and these functions:
//!
//! | function | meaning |
//! |---|---|
//! | `now()` | the database's time |
//! | `in_seconds(n)` | the database's time plus `n` seconds; `n` may be negative |
//! | `forever()` | a time that is later than every other time |
//! | `rfc3339(column)` | a time as text, in UTC, to the millisecond |
//! | `json(text)` | a text for a column of JSON |
//! | `elements(text) AS e` | the elements of a JSON list, each as `e.value` |
//! | `table_exists(name)` | whether there is a table |

/// The translation of everything that has no common form.
pub(super) struct Dialect {
    /// The replacement of each function, with `{}` for its argument.
    pub(super) functions: &'static [(&'static str, &'static str)],
    /// The prefix of the names of readcast's own tables.
    pub(super) tables: &'static str,
    /// Whether the engine locks single rows.
    pub(super) locks_rows: bool,
}

impl Dialect {
    /// The statement in the engine's SQL.
    pub(super) fn translate(&self, statement: &str) -> String {
        let mut text = statement.replace("readcast.", self.tables);
        if !self.locks_rows {
            text = text.replace("FOR UPDATE", "");
        }
        for (name, template) in self.functions {
            text = replace_calls(&text, name, template);
        }
        text
    }
}

/// Replaces each call of the function `name` by `template`.
fn replace_calls(text: &str, name: &str, template: &str) -> String {
    let call = format!("{name}(");
    let (mut replaced, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find(&call) {
        let (before, behind) = (&rest[..start], &rest[start + call.len()..]);
        let is_whole_name = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        replaced += before;
        rest = match closing_parenthesis(behind).filter(|_| is_whole_name) {
            Some(end) => {
                replaced += &template.replace("{}", &behind[..end]);
                &behind[end + 1..]
            }
            None => {
                replaced += &call;
                behind
            }
        };
    }
    replaced + rest
}

/// The index of the parenthesis that closes the one before `text`.
fn closing_parenthesis(text: &str) -> Option<usize> {
    let mut depth = 1;
    text.char_indices().find_map(|(place, c)| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        (depth == 0).then_some(place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALECT: Dialect = Dialect {
        functions: &[("now", "clock()"), ("in_seconds", "clock({})"), ("rfc3339", "{}")],
        tables: "readcast_",
        locks_rows: false,
    };

    #[test]
    fn tables_functions_and_locks_are_spelled_as_the_engine_does() {
        let statement =
            "SELECT rfc3339(max(seen_at)) AS at FROM readcast.instances WHERE seen_at > in_seconds(-10) FOR UPDATE";
        let expected = "SELECT max(seen_at) AS at FROM readcast_instances WHERE seen_at > clock(-10) ";
        assert_eq!(DIALECT.translate(statement), expected);
    }

    #[test]
    fn only_whole_names_are_calls() {
        assert_eq!(DIALECT.translate("unknow() + xnow() + now()"), "unknow() + xnow() + clock()");
        assert_eq!(DIALECT.translate("now("), "now(");
    }
}
