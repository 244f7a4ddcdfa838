//! Notices: conditions that stop no projection and that an operator must know while they last.

use std::fmt;

use serde::Serialize;

use super::Generation;

/// The kind of a notice. A generation has at most one notice of each kind and subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The tables of a generation that has ended can't be dropped.
    TablesNotDropped,
    /// Objects of users read tables that were dropped.
    BrokenDependents,
    /// No dead letter can be copied to its topic.
    CopyingFails,
    /// Some dead letters can't be copied to their topic, while others are copied.
    DeadLettersNotCopied,
    /// Events have no id although duplicates are detected by id: their duplicates are projected.
    EventsWithoutIdentity,
    /// No projection subscribes to events of a type, and none ignores it. There is one notice for each type.
    UnhandledEventType,
    /// Rows of a table are changed from several partitions, by operations whose order matters. There is one notice for each
    /// table.
    OrderDependentRows,
}

impl NoticeKind {
    /// All kinds with their names in the database and in metrics.
    pub const NAMES: [(NoticeKind, &'static str); 7] = [
        (NoticeKind::TablesNotDropped, "tables_not_dropped"),
        (NoticeKind::BrokenDependents, "broken_dependents"),
        (NoticeKind::CopyingFails, "copying_fails"),
        (NoticeKind::DeadLettersNotCopied, "dead_letters_not_copied"),
        (NoticeKind::EventsWithoutIdentity, "events_without_identity"),
        (NoticeKind::UnhandledEventType, "unhandled_event_type"),
        (NoticeKind::OrderDependentRows, "order_dependent_rows"),
    ];

    /// The kind's name in the database, in JSON and in metrics.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The kind with the name `name`. `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(kind, _)| *kind)
    }

    /// Whether the notice is about single past events: their counts are added, and the notice ends after a day without
    /// another event.
    pub fn adds_up(self) -> bool {
        match self {
            Self::EventsWithoutIdentity | Self::UnhandledEventType => true,
            Self::TablesNotDropped
            | Self::BrokenDependents
            | Self::CopyingFails
            | Self::DeadLettersNotCopied
            | Self::OrderDependentRows => false,
        }
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A notice, as recorded by the instance that detects the condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The kind of the condition.
    pub kind: NoticeKind,
    /// Which of the things that a notice of this kind can be about; empty if there is one alone. A notice with a subject
    /// keeps its first text.
    pub subject: String,
    /// What happened: SQLSTATE, message and coordinates, never row data.
    pub text: String,
    /// What the operator must do, usually a command.
    pub next: String,
    /// The number of affected things, or 0 if they can't be counted. See [`NoticeKind::adds_up`].
    pub count: u64,
}

/// A notice in the database. Times are in RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedNotice {
    /// The projection's name.
    #[serde(skip)]
    pub projection: String,
    /// The generation that the notice is about.
    #[serde(skip)]
    pub generation: Generation,
    /// The kind of the condition.
    pub kind: NoticeKind,
    /// Which of the things that a notice of this kind can be about; empty if there is one alone.
    pub subject: String,
    /// What happened: SQLSTATE, message and coordinates, never row data.
    pub text: String,
    /// What the operator must do, usually a command.
    pub next: String,
    /// The number of affected things, or 0 if they can't be counted.
    pub count: u64,
    /// When the condition was first detected, in RFC 3339.
    pub since: String,
    /// When the condition was last detected, in RFC 3339.
    pub seen_at: String,
    /// Whether the last detection was more than a day ago, by the database's clock.
    #[serde(skip)]
    pub is_old: bool,
}

impl fmt::Display for RecordedNotice {
    /// One line for operators.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, text, next, count, since, seen_at, .. } = self;
        write!(f, "generation {}: {text} (", generation.0)?;
        if *count > 0 {
            write!(f, "{count} ")?;
        }
        write!(f, "since {since}")?;
        if self.kind.adds_up() {
            write!(f, ", the last at {seen_at}")?;
        }
        write!(f, "). Next: {next}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_their_names() {
        for (kind, name) in NoticeKind::NAMES {
            assert_eq!((NoticeKind::named(name), kind.to_string().as_str()), (Some(kind), name));
            assert_eq!(serde_json::to_value(kind).expect("a name"), name);
        }
        assert_eq!(NoticeKind::named("harmless"), None);
    }

    #[test]
    fn a_notice_says_what_where_since_when_and_what_to_type() {
        let notice = |kind, count| RecordedNotice {
            projection: "p".into(),
            generation: Generation(2),
            kind,
            subject: String::new(),
            text: "it is so".into(),
            next: "type this".into(),
            count,
            since: "noon".into(),
            seen_at: "one".into(),
            is_old: false,
        };
        let kept = notice(NoticeKind::TablesNotDropped, 0).to_string();
        assert_eq!(kept, "generation 2: it is so (since noon). Next: type this");
        let counted = notice(NoticeKind::EventsWithoutIdentity, 7).to_string();
        assert_eq!(counted, "generation 2: it is so (7 since noon, the last at one). Next: type this");
    }
}
