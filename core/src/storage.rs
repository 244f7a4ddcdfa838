//! The storage parameters that a table may declare: those that Postgres has for tables, and the values that it takes
//! (PostgreSQL documentation, CREATE TABLE, "Storage Parameters").

/// What a parameter takes.
enum Takes {
    Whole(i64, i64),
    Real(f64, f64),
    Truth,
    OneOf(&'static [&'static str]),
}

use Takes::{OneOf, Real, Truth, Whole};

const MOST: i64 = i32::MAX as i64;
const BILLION: i64 = 1_000_000_000;

/// What only the table itself has.
const OF_THE_TABLE: [(&str, Takes); 5] = [
    ("fillfactor", Whole(10, 100)),
    ("toast_tuple_target", Whole(128, 8_160)),
    ("parallel_workers", Whole(0, 1_024)),
    ("autovacuum_analyze_threshold", Whole(0, MOST)),
    ("autovacuum_analyze_scale_factor", Real(0.0, 100.0)),
];

/// What the table has and, with `toast.` before it, what it keeps elsewhere.
const OF_BOTH: [(&str, Takes); 16] = [
    ("autovacuum_enabled", Truth),
    ("vacuum_index_cleanup", OneOf(&["auto", "on", "off"])),
    ("vacuum_truncate", Truth),
    ("autovacuum_vacuum_threshold", Whole(0, MOST)),
    ("autovacuum_vacuum_scale_factor", Real(0.0, 100.0)),
    ("autovacuum_vacuum_insert_threshold", Whole(-1, MOST)),
    ("autovacuum_vacuum_insert_scale_factor", Real(0.0, 100.0)),
    ("autovacuum_vacuum_cost_delay", Real(0.0, 100.0)),
    ("autovacuum_vacuum_cost_limit", Whole(1, 10_000)),
    ("autovacuum_freeze_min_age", Whole(0, BILLION)),
    ("autovacuum_freeze_max_age", Whole(100_000, 2 * BILLION)),
    ("autovacuum_freeze_table_age", Whole(0, 2 * BILLION)),
    ("autovacuum_multixact_freeze_min_age", Whole(0, BILLION)),
    ("autovacuum_multixact_freeze_max_age", Whole(10_000, 2 * BILLION)),
    ("autovacuum_multixact_freeze_table_age", Whole(0, 2 * BILLION)),
    ("log_autovacuum_min_duration", Whole(-1, MOST)),
];

/// What is wrong with a storage parameter or its value, if anything is.
pub(crate) fn fault(parameter: &str, value: &str) -> Option<String> {
    let known = |table: &'static [(&str, Takes)], name: &str| table.iter().find(|(known, _)| *known == name);
    let found = match parameter.strip_prefix("toast.") {
        Some(name) => known(&OF_BOTH, name),
        None => known(&OF_THE_TABLE, parameter).or_else(|| known(&OF_BOTH, parameter)),
    };
    let Some((_, takes)) = found else {
        return Some(format!("`{parameter}` is no storage parameter of a table in Postgres"));
    };
    (!takes.fits(value)).then(|| format!("the storage parameter `{parameter}` is {value}; it takes {}", takes.told()))
}

impl Takes {
    fn fits(&self, value: &str) -> bool {
        match self {
            Whole(least, most) => value.parse().is_ok_and(|number: i64| (*least..=*most).contains(&number)),
            Real(least, most) => value.parse().is_ok_and(|number: f64| (*least..=*most).contains(&number)),
            Truth => matches!(value, "true" | "false" | "on" | "off"),
            OneOf(values) => values.contains(&value),
        }
    }

    fn told(&self) -> String {
        match self {
            Whole(least, most) => format!("a whole number from {least} to {most}"),
            Real(least, most) => format!("a number from {least} to {most}"),
            Truth => "true or false".into(),
            OneOf(values) => values.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn what_postgres_takes_is_taken_and_all_else_is_named() {
        for (parameter, value) in [
            ("fillfactor", "70"),
            ("autovacuum_enabled", "false"),
            ("autovacuum_vacuum_scale_factor", "0.01"),
            ("toast.autovacuum_enabled", "true"),
            ("log_autovacuum_min_duration", "-1"),
            ("vacuum_index_cleanup", "off"),
        ] {
            assert_eq!(fault(parameter, value), None, "{parameter}");
        }
        for (parameter, value, told) in [
            ("fillfactor", "9", "from 10 to 100"),
            ("fillfactor", "70.5", "from 10 to 100"),
            ("fillfactor", "70); DROP TABLE t; --", "from 10 to 100"),
            ("autovacuum_enabled", "no", "true or false"),
            ("autovacuum_vacuum_scale_factor", "NaN", "from 0 to 100"),
            ("vacuum_index_cleanup", "maybe", "auto, on, off"),
            ("toast.fillfactor", "70", "no storage parameter"),
            ("user_catalog_table", "true", "no storage parameter"),
            ("fill factor", "70", "no storage parameter"),
        ] {
            let found = fault(parameter, value).unwrap_or_default();
            assert!(found.contains(told), "{parameter} = {value}: {found}");
        }
    }
}
