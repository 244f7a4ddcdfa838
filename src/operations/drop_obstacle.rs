//! Why the tables of a generation that has ended can't be dropped, and what an operator does about it.

use crate::store::{Dependent, Notice, NoticeKind};

/// Why tables can't be dropped.
pub(super) struct DropObstacle {
    reason: String,
    remedy: String,
    is_temporary: bool,
}

impl DropObstacle {
    /// These sessions use the tables. The list is empty if the sessions are unknown.
    pub(super) fn in_use(by: &[String]) -> Self {
        let (reason, remedy) = match by {
            [] => ("they are in use".into(), "wait"),
            by => (format!("they are in use by {}", by.join(", ")), "wait for it, or end it"),
        };
        Self { reason, remedy: remedy.into(), is_temporary: true }
    }

    /// These objects depend on the tables.
    pub(super) fn dependents(dependents: &[Dependent]) -> Self {
        let verb = if dependents.len() == 1 { "depends" } else { "depend" };
        let reason = format!("{} {verb} on them", names(dependents));
        Self { reason, remedy: removal(dependents), is_temporary: false }
    }

    /// The database refuses it for another reason.
    pub(super) fn refused(doing: &str, reason: &str) -> Self {
        Self { reason: format!("{doing}: {reason}"), remedy: "correct that".into(), is_temporary: false }
    }

    /// Whether the obstacle may end without an operator.
    pub(super) fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// What happened, and what the operator must do.
    pub(super) fn sentence(&self, projection: &str) -> String {
        format!("{}. Next: {}", self.text(), self.next(projection))
    }

    pub(super) fn notice(&self, projection: &str) -> Notice {
        let (text, next) = (self.text(), self.next(projection));
        Notice { kind: NoticeKind::TablesNotDropped, subject: String::new(), text, next, count: 0 }
    }

    fn text(&self) -> String {
        format!("its tables can't be dropped: {}", self.reason)
    }

    fn next(&self, projection: &str) -> String {
        format!("{}; then type `readcast retire {projection}`, or wait for the next automatic attempt", self.remedy)
    }
}

/// The notice about objects of users that read tables which are gone.
pub(super) fn broken_notice(broken: &[Dependent]) -> Notice {
    Notice {
        kind: NoticeKind::BrokenDependents,
        subject: String::new(),
        text: format!("its tables are dropped, and these objects that read them are broken: {}", names(broken)),
        next: format!("{}, then create them again on the stable names", removal(broken)),
        count: 0,
    }
}

fn names(dependents: &[Dependent]) -> String {
    dependents.iter().map(|dependent| dependent.what.as_str()).collect::<Vec<_>>().join(", ")
}

/// The statements that remove the objects, in an order that works.
fn removal(dependents: &[Dependent]) -> String {
    let statements: Vec<&str> = dependents.iter().filter_map(|dependent| dependent.removal.as_deref()).collect();
    let typed = format!("`{}`", statements.join("; "));
    match statements.len() {
        0 => "alter or drop them".into(),
        count if count < dependents.len() => format!("{typed}, and alter or drop the others"),
        _ => typed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependent(what: &str, removal: Option<&str>) -> Dependent {
        Dependent { what: what.into(), on: "t_g1".into(), removal: removal.map(str::to_owned) }
    }

    #[test]
    fn an_obstacle_names_all_that_depends_and_what_to_type() {
        let (a, b) = (dependent("view a", Some("DROP VIEW a")), dependent("view b", Some("DROP VIEW b")));
        let expected = "its tables can't be dropped: view a, view b depend on them. Next: `DROP VIEW a; DROP VIEW b`; then \
                        type `readcast retire p`, or wait for the next automatic attempt";
        assert_eq!(DropObstacle::dependents(&[a.clone(), b]).sentence("p"), expected);
        let child = DropObstacle::dependents(&[a.clone(), dependent("table c", None)]).sentence("p");
        assert!(child.contains("Next: `DROP VIEW a`, and alter or drop the others; then"), "{child}");
        let one = DropObstacle::dependents(&[a]).sentence("p");
        assert!(one.contains("view a depends on them"), "{one}");
        let used = DropObstacle::in_use(&["process 7".into()]).sentence("p");
        assert!(used.contains("in use by process 7. Next: wait for it, or end it; then"), "{used}");
    }
}
