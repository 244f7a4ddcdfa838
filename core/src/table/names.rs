//! Names that a store has other uses for. What one store can't have is refused for all: a projection must not depend on
//! where its tables are.

/// What the numbers in the names of generations and their indexes have at most: six digits and four.
const MOST_GENERATIONS: u32 = 999_999;
const MOST_INDEXES: u32 = super::TableSpec::MAX_INDEXES as u32;

/// Why no table can have this name, if none can.
pub(super) fn of_no_table(name: &str) -> Option<&'static str> {
    const OURS_AND_THEIRS: [&str; 3] = ["readcast_", "sqlite_", "pg_"];
    // SQLite finds a table before a function of the same name, and our own statements call these.
    const FUNCTIONS: [&str; 5] = ["json_each", "json_tree", "jsonb_each", "jsonb_tree", "dbstat"];
    if OURS_AND_THEIRS.iter().any(|prefix| name.starts_with(prefix)) {
        Some("names that begin with readcast_, sqlite_ or pg_ are not free to use")
    } else if name == "sqlite" {
        Some("its generations would begin with sqlite_, which SQLite keeps for itself")
    } else if FUNCTIONS.contains(&name) || name.starts_with("pragma_") {
        Some("SQLite has a table-valued function of that name")
    } else {
        None
    }
}

/// Why no column can have this name, if none can.
pub(super) fn of_no_column(name: &str) -> Option<&'static str> {
    match name {
        "tableoid" | "xmin" | "cmin" | "xmax" | "cmax" | "ctid" => {
            Some("every table of Postgres's has a system column of that name")
        }
        "rowid" | "oid" | "_rowid_" => Some("SQLite means the number of a row by that name"),
        // However it is quoted.
        "true" | "false" => Some("SQLite shows the word instead of the column when a view is read"),
        _ => None,
    }
}

/// The table whose generations or their indexes are called like this: `t` for `t_g1` and for `t_g1_ix2`. In SQLite they
/// share one space of names with the stable names.
pub(crate) fn built_for(name: &str) -> Option<&str> {
    let table = numbered(name, "_ix", MOST_INDEXES).unwrap_or(name);
    numbered(table, "_g", MOST_GENERATIONS)
}

/// What stands before `mark` and a number from 1 to `most`, if `name` ends like that.
fn numbered<'a>(name: &'a str, mark: &str, most: u32) -> Option<&'a str> {
    let (rest, number) = name.rsplit_once(mark)?;
    // As we write it: `g01` is nobody's.
    let number = number.parse::<u32>().ok().filter(|parsed| parsed.to_string() == number)?;
    (1..=most).contains(&number).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_generations_and_indexes_are_told_from_others() {
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
