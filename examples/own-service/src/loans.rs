//! `loans`: the books that are lent now, and to whom.

use readcast::{Changes, ColumnType, Date, Envelope, Projection, ProjectionError, TableSpec};
use serde::Deserialize;

pub struct Loans;

#[derive(Deserialize)]
struct Loan<'e> {
    book: &'e str,
    member: &'e str,
}

#[derive(Deserialize)]
struct Term {
    due: Date,
}

impl Projection for Loans {
    fn name(&self) -> &str {
        "loans"
    }

    fn topics(&self) -> &[&str] {
        &["loans"]
    }

    fn event_types(&self) -> &[&str] {
        &["BookLent", "LoanExtended", "BookReturned"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        let loans = TableSpec::new("loans")
            .key("book", ColumnType::Text)
            .column("member", ColumnType::Text)
            .column("lent_at", ColumnType::Timestamp)
            .column("due", ColumnType::Date)
            .index(["member"]);
        vec![loans]
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let Loan { book, member } = event.data()?;
        match &*event.event_type {
            "BookLent" => {
                let Term { due } = event.data()?;
                let loan = changes.upsert("loans", [book]);
                loan.set("member", member).set("lent_at", event.timestamp).set("due", due);
            }
            "LoanExtended" => {
                let Term { due } = event.data()?;
                changes.update("loans", [book]).set("due", due);
            }
            _ => changes.delete("loans", [book]),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use readcast::testing::{event, given};

    use super::*;

    #[test]
    fn a_book_is_listed_until_it_is_returned() {
        let events = [
            event("BookLent", r#"{"book":"Emma","member":"ana","due":"2024-01-29"}"#),
            event("BookLent", r#"{"book":"Ulysses","member":"ben","due":"2024-01-29"}"#),
            event("LoanExtended", r#"{"book":"Ulysses","member":"ben","due":"2024-02-12"}"#),
            event("BookReturned", r#"{"book":"Emma","member":"ana"}"#),
        ];
        given(Loans, events).then(
            "loans",
            "book    | member | due
             Ulysses | ben    | 2024-02-12",
        );
    }

    #[test]
    fn a_loan_that_is_not_there_is_not_extended() {
        let extended = event("LoanExtended", r#"{"book":"Emma","member":"ana","due":"2024-02-12"}"#);
        given(Loans, [extended]).then_empty("loans");
    }
}
