//! Names that a store reserves. A name that one store reserves is refused for every store: a projection must not depend
//! on the store of its tables.

/// The largest numbers in the names of generations and indexes: six digits and four.
const MAX_GENERATION: u32 = 999_999;
const MAX_INDEX: u32 = super::TableSpec::MAX_INDEXES as u32;

/// Why no table may have this name. `None` if one may.
pub(super) fn table_conflict(name: &str) -> Option<&'static str> {
    const RESERVED_PREFIXES: [&str; 3] = ["readcast_", "sqlite_", "pg_"];
    // In SQLite a table hides a table-valued function of the same name, and readcast's statements call these functions.
    const FUNCTIONS: [&str; 5] = ["json_each", "json_tree", "jsonb_each", "jsonb_tree", "dbstat"];
    if RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        Some("names that begin with readcast_, sqlite_ or pg_ are reserved")
    } else if name == "sqlite" {
        Some("the names of its generations would begin with sqlite_, which SQLite reserves")
    } else if FUNCTIONS.contains(&name) || name.starts_with("pragma_") {
        Some("SQLite has a table-valued function of that name")
    } else {
        None
    }
}

/// Why no column may have this name. `None` if one may.
pub(super) fn column_conflict(name: &str) -> Option<&'static str> {
    match name {
        "tableoid" | "xmin" | "cmin" | "xmax" | "cmax" | "ctid" => {
            Some("every table in Postgres has a system column of that name")
        }
        "rowid" | "oid" | "_rowid_" => Some("SQLite uses that name for the row id"),
        // Even if the name is quoted.
        "true" | "false" => Some("a view in SQLite returns the boolean instead of the column"),
        _ => None,
    }
}

/// The table whose generations or indexes have names like `name`: `t` for `t_g1` and for `t_g1_ix2`. In SQLite these
/// names share a namespace with the stable names.
pub(crate) fn built_for(name: &str) -> Option<&str> {
    let table = numbered(name, "_ix", MAX_INDEX).unwrap_or(name);
    numbered(table, "_g", MAX_GENERATION)
}

/// The part of `name` before `mark` and a number from 1 to `most`. `None` if `name` has no such suffix.
fn numbered<'a>(name: &'a str, mark: &str, most: u32) -> Option<&'a str> {
    let (rest, number) = name.rsplit_once(mark)?;
    // Only the canonical form: no generation is named `g01`.
    let number = number.parse::<u32>().ok().filter(|parsed| parsed.to_string() == number)?;
    (1..=most).contains(&number).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_generations_and_indexes_are_recognized() {
        for (name, table) in
            [("t_g1", "t"), ("t_g999999", "t"), ("t_g1_ix1", "t"), ("t_g12_ix9999", "t"), ("t_g1_g2", "t_g1")]
        {
            assert_eq!(built_for(name), Some(table), "{name}");
        }
        for name in
            ["t", "t_g", "t_g0", "t_g01", "t_g+1", "t_g1000000", "t_ix1", "t_g1_ix0", "t_g1_ix10000", "t_g1_pkey"]
        {
            assert_eq!(built_for(name), None, "{name}");
        }
    }
}
