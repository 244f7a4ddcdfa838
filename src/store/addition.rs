//! Objects that users added to the live tables and their views, and the effect of a swap on them. No I/O.

use serde::Serialize;

use super::Generation;

/// An object that a user created on a live table or on its view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserAddition {
    /// The table or view, as the store names it.
    pub on: String,
    /// The kind and the name of the object, such as `index by_email`.
    pub what: String,
    /// The statement that creates the object.
    pub statement: String,
    /// The equivalent declaration in a `TableSpec`. `None` if a `TableSpec` can't declare the object.
    pub declaration: Option<String>,
    /// The effect of the next swap on the object.
    pub fate: AdditionFate,
}

/// The effect of the next swap on an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AdditionFate {
    /// The swap keeps the object.
    Kept,
    /// The new table has an equivalent object.
    Carried,
    /// The swap removes the object, unless the rebuild runs with `--keep-indexes`.
    Carriable,
    /// The swap removes the object.
    Lost,
}

impl UserAddition {
    /// The effect of a rebuild with or without `--keep-indexes`.
    #[must_use]
    pub fn in_a_rebuild(mut self, keep_indexes: bool) -> Self {
        if keep_indexes && self.fate == AdditionFate::Carriable {
            self.fate = AdditionFate::Carried;
        }
        self
    }

    /// Whether the next swap removes the object.
    pub fn is_lost(&self) -> bool {
        matches!(self.fate, AdditionFate::Carriable | AdditionFate::Lost)
    }

    /// A sentence with the addition, its fate and what to do.
    pub fn sentence(&self) -> String {
        let Self { on, what, statement, declaration, fate } = self;
        let declare = declaration.as_ref().map(|text| format!("declare it (`{text}`), or ")).unwrap_or_default();
        let becomes = match fate {
            AdditionFate::Kept => "is kept".to_owned(),
            AdditionFate::Carried => "is made again on the new table".to_owned(),
            AdditionFate::Carriable => {
                format!("is lost at the next swap: {declare}rebuild with `--keep-indexes`, which makes it again")
            }
            AdditionFate::Lost => {
                format!("is lost at the next swap: {declare}run its statement again on the new table after the swap")
            }
        };
        format!("{what} on {on} {becomes}: {statement}")
    }
}

/// Candidate names in generation `to` for the index `name` of `table` in generation `from`, the best first. The names
/// do not grow from one rebuild to the next, and fit into Postgres' limit on identifiers.
pub(super) fn carried_names(
    name: &str,
    table: &str,
    from: Generation,
    to: Generation,
) -> impl Iterator<Item = String> + use<> {
    const MOST_BYTES: usize = 63;
    let named_by_the_table = name.strip_prefix(&format!("{table}_g{}_", from.0));
    // Names that end in `_ix` and a number are reserved for declared indexes.
    let (stem, tail) = match named_by_the_table.filter(|rest| !rest.starts_with("ix")) {
        Some(rest) => (format!("{table}_g{}_{rest}", to.0), String::new()),
        None => (without_generation(name, from).to_owned(), format!("_g{}", to.0)),
    };
    (1_u32..).map(move |number| {
        let end = if number == 1 { tail.clone() } else { format!("{tail}_{number}") };
        format!("{}{end}", &stem[..stem.floor_char_boundary(MOST_BYTES - end.len())])
    })
}

/// The name without the suffix that an earlier [`carried_names`] appended.
fn without_generation(name: &str, from: Generation) -> &str {
    let suffix = format!("_g{}", from.0);
    let unnumbered = name.trim_end_matches(|last: char| last.is_ascii_digit()).strip_suffix('_');
    let stripped = name.strip_suffix(&suffix).or_else(|| unnumbered?.strip_suffix(&suffix));
    stripped.filter(|stem| !stem.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(name: &str, from: i32, to: i32) -> String {
        carried_names(name, "orders", Generation(from), Generation(to)).next().expect("a name")
    }

    #[test]
    fn an_index_has_a_name_in_each_generation_and_none_grows() {
        assert_eq!(first("by_email", 1, 2), "by_email_g2");
        assert_eq!(first("by_email_g2", 2, 3), "by_email_g3");
        assert_eq!(first("by_email_g2_4", 2, 3), "by_email_g3");
        assert_eq!(first("by_email", 1, 4), "by_email_g4", "after a rollback");
        assert_eq!(first("orders_g1_lower_idx", 1, 2), "orders_g2_lower_idx");
        assert_eq!(first("orders_g1_ix7", 1, 2), "orders_g1_ix7_g2", "orders_g2_ix7 may be one that is declared");
        assert_eq!(first("_g1", 1, 2), "_g1_g2");
    }

    #[test]
    fn a_name_that_is_taken_has_a_next_one_and_all_fit() {
        let long = "é".repeat(40);
        let names: Vec<_> = carried_names(&long, "orders", Generation(1), Generation(2)).take(3).collect();
        assert_eq!(
            names,
            [format!("{}_g2", "é".repeat(30)), format!("{}_g2_2", "é".repeat(29)), format!("{}_g2_3", "é".repeat(29))]
        );
        let names: Vec<_> = carried_names("by_email", "orders", Generation(1), Generation(2)).take(2).collect();
        assert_eq!(names, ["by_email_g2", "by_email_g2_2"]);
    }

    #[test]
    fn what_becomes_of_an_addition_is_said_with_what_to_do() {
        let addition = UserAddition {
            on: "t_g1".into(),
            what: "index by_a".into(),
            statement: "CREATE INDEX by_a ON t_g1 (a)".into(),
            declaration: Some(".index([\"a\"])".into()),
            fate: AdditionFate::Carriable,
        };
        assert!(addition.is_lost() && addition.sentence().contains("`--keep-indexes`"), "{}", addition.sentence());
        let carried = addition.clone().in_a_rebuild(true);
        assert!(
            !carried.is_lost() && carried.sentence().contains("made again on the new table"),
            "{}",
            carried.sentence()
        );
        let lost = UserAddition { fate: AdditionFate::Lost, ..addition }.in_a_rebuild(true);
        assert!(lost.is_lost() && lost.sentence().contains("declare it (`.index([\"a\"])`)"), "{}", lost.sentence());
    }
}
