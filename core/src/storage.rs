//! The storage parameters that a table may declare: those of tables in Postgres, with the values that Postgres accepts
//! (PostgreSQL documentation, CREATE TABLE, "Storage Parameters").

use std::fmt;

/// The values that a parameter accepts. Ranges include both ends.
enum Accepts {
    Integer(i64, i64),
    Float(f64, f64),
    Bool,
    OneOf(&'static [&'static str]),
}

use Accepts::{Bool, Float, Integer, OneOf};

const MAX: i64 = i32::MAX as i64;
const BILLION: i64 = 1_000_000_000;

/// The parameters of the table alone.
const TABLE_ONLY: [(&str, Accepts); 5] = [
    ("fillfactor", Integer(10, 100)),
    ("toast_tuple_target", Integer(128, 8_160)),
    ("parallel_workers", Integer(0, 1_024)),
    ("autovacuum_analyze_threshold", Integer(0, MAX)),
    ("autovacuum_analyze_scale_factor", Float(0.0, 100.0)),
];

/// The parameters of the table and, with the prefix `toast.`, of its TOAST table.
const TABLE_AND_TOAST: [(&str, Accepts); 16] = [
    ("autovacuum_enabled", Bool),
    ("vacuum_index_cleanup", OneOf(&["auto", "on", "off"])),
    ("vacuum_truncate", Bool),
    ("autovacuum_vacuum_threshold", Integer(0, MAX)),
    ("autovacuum_vacuum_scale_factor", Float(0.0, 100.0)),
    ("autovacuum_vacuum_insert_threshold", Integer(-1, MAX)),
    ("autovacuum_vacuum_insert_scale_factor", Float(0.0, 100.0)),
    ("autovacuum_vacuum_cost_delay", Float(0.0, 100.0)),
    ("autovacuum_vacuum_cost_limit", Integer(1, 10_000)),
    ("autovacuum_freeze_min_age", Integer(0, BILLION)),
    ("autovacuum_freeze_max_age", Integer(100_000, 2 * BILLION)),
    ("autovacuum_freeze_table_age", Integer(0, 2 * BILLION)),
    ("autovacuum_multixact_freeze_min_age", Integer(0, BILLION)),
    ("autovacuum_multixact_freeze_max_age", Integer(10_000, 2 * BILLION)),
    ("autovacuum_multixact_freeze_table_age", Integer(0, 2 * BILLION)),
    ("log_autovacuum_min_duration", Integer(-1, MAX)),
];

/// What is wrong with a storage parameter or its value. `None` if Postgres accepts both.
pub(crate) fn problem(parameter: &str, value: &str) -> Option<String> {
    let known = |table: &'static [(&str, Accepts)], name: &str| table.iter().find(|(known, _)| *known == name);
    let found = match parameter.strip_prefix("toast.") {
        Some(name) => known(&TABLE_AND_TOAST, name),
        None => known(&TABLE_ONLY, parameter).or_else(|| known(&TABLE_AND_TOAST, parameter)),
    };
    let Some((_, accepted)) = found else {
        return Some(format!("`{parameter}` is not a storage parameter of a table in Postgres"));
    };
    (!accepted.accepts(value)).then(|| format!("the storage parameter `{parameter}` is {value}; it must be {accepted}"))
}

impl Accepts {
    fn accepts(&self, value: &str) -> bool {
        match self {
            Integer(least, most) => value.parse().is_ok_and(|number: i64| (*least..=*most).contains(&number)),
            Float(least, most) => value.parse().is_ok_and(|number: f64| (*least..=*most).contains(&number)),
            Bool => matches!(value, "true" | "false" | "on" | "off"),
            OneOf(values) => values.contains(&value),
        }
    }
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Integer(least, most) => write!(f, "an integer from {least} to {most}"),
            Float(least, most) => write!(f, "a number from {least} to {most}"),
            Bool => f.write_str("true or false"),
            OneOf(values) => write!(f, "one of {}", values.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn only_parameters_and_values_that_postgres_accepts_are_accepted() {
        for (parameter, value) in [
            ("fillfactor", "70"),
            ("autovacuum_enabled", "false"),
            ("autovacuum_vacuum_scale_factor", "0.01"),
            ("toast.autovacuum_enabled", "true"),
            ("log_autovacuum_min_duration", "-1"),
            ("vacuum_index_cleanup", "off"),
        ] {
            assert_eq!(problem(parameter, value), None, "{parameter}");
        }
        for (parameter, value, reason) in [
            ("fillfactor", "9", "from 10 to 100"),
            ("fillfactor", "70.5", "from 10 to 100"),
            ("fillfactor", "70); DROP TABLE t; --", "from 10 to 100"),
            ("autovacuum_enabled", "no", "true or false"),
            ("autovacuum_vacuum_scale_factor", "NaN", "from 0 to 100"),
            ("vacuum_index_cleanup", "maybe", "auto, on, off"),
            ("toast.fillfactor", "70", "not a storage parameter"),
            ("user_catalog_table", "true", "not a storage parameter"),
            ("fill factor", "70", "not a storage parameter"),
        ] {
            let found = problem(parameter, value).unwrap_or_default();
            assert!(found.contains(reason), "{parameter} = {value}: {found}");
        }
    }
}
