//! `members`: how much each member has borrowed, and when they last did.

use readcast::{Changes, ColumnType, Envelope, Projection, ProjectionError, TableSpec};
use serde::Deserialize;

pub struct Members;

#[derive(Deserialize)]
struct Loan<'e> {
    member: &'e str,
}

impl Projection for Members {
    fn name(&self) -> &str {
        "members"
    }

    fn topics(&self) -> &[&str] {
        &["loans"]
    }

    fn event_types(&self) -> &[&str] {
        &["BookLent", "BookReturned"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        let members = TableSpec::new("members")
            .key("member", ColumnType::Text)
            .with_default("borrowed", ColumnType::I64, 0)
            .with_default("returned", ColumnType::I64, 0)
            .nullable("last_borrowed_at", ColumnType::Timestamp);
        vec![members]
    }

    /// A member's books are in several partitions, so their events come in any order: all changes add up or compare.
    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        let Loan { member } = event.data()?;
        let row = changes.upsert("members", [member]);
        match &*event.event_type {
            "BookLent" => row.add("borrowed", 1).max("last_borrowed_at", event.timestamp),
            _ => row.add("returned", 1),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use readcast::testing::{event, given};

    use super::*;

    #[test]
    fn loans_and_returns_add_up() {
        let events = [
            event("BookLent", r#"{"book":"Emma","member":"ana"}"#),
            event("BookLent", r#"{"book":"Ulysses","member":"ana"}"#),
            event("BookReturned", r#"{"book":"Emma","member":"ana"}"#),
        ];
        given(Members, events).then(
            "members",
            "member | borrowed | returned | last_borrowed_at
             ana    | 2        | 1        | 2024-01-01T00:00:01.000000Z",
        );
    }
}
