//! Functions of lists. CEL's macros `map`, `filter`, `all`, `exists` and `exists_one` are no functions: the parser expands them.

use super::{Function, LIST, Parameter, list};
use crate::datum::Datum;
use crate::expression::Kind;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("`sum(list)`: the sum of numbers; 0 of an empty list", "sum", &[LIST], Kind::Any, |of| {
        list(&of[0])?.iter().cloned().try_fold(Datum::Int(0), Datum::plus)
    }),
    Function::new("`first(list)`: the first item, or null", "first", &[LIST], Kind::Any, |of| {
        Ok(list(&of[0])?.first().cloned().unwrap_or_default())
    }),
    Function::new("`last(list)`: the last item, or null", "last", &[LIST], Kind::Any, |of| {
        Ok(list(&of[0])?.last().cloned().unwrap_or_default())
    }),
    Function::new(
        "`least(a, b, …)`: the least of the values, or of the items of one list; nulls are left out",
        "least",
        &[Parameter::Of(Kind::Any)],
        Kind::Any,
        |of| extreme(of, std::cmp::Ordering::Less),
    )
    .repeating(),
    Function::new(
        "`greatest(a, b, …)`: the greatest of the values, or of the items of one list; nulls are left out",
        "greatest",
        &[Parameter::Of(Kind::Any)],
        Kind::Any,
        |of| extreme(of, std::cmp::Ordering::Greater),
    )
    .repeating(),
];

fn extreme<'e>(of: &[Datum<'e>], wanted: std::cmp::Ordering) -> Result<Datum<'e>, String> {
    let values = match of {
        [Datum::List(items)] => items,
        values => values,
    };
    let mut found = Datum::Null;
    for value in values.iter().filter(|value| !matches!(value, Datum::Null)) {
        let is_it =
            matches!(found, Datum::Null) || value.compare(&found).ok_or_else(|| no_order(value, &found))? == wanted;
        if is_it {
            found = value.clone();
        }
    }
    Ok(found)
}

fn no_order(a: &Datum<'_>, b: &Datum<'_>) -> String {
    format!("{} and {} have no order", a.type_name(), b.type_name())
}
