//! What a rebuild would take, and whether it is needed: told before anything is done. Pure.

use readcast_core::{Column, Definition, Presence, TableSpec, TopicPartition};
use serde::Serialize;

use super::log_history::forgotten;
use crate::source::{Extent, Extents};
use crate::store::{
    Command, Dependent, GenerationStatus, Operation, OperationState, Rebuild, RebuildStart, SwapImpact, UserAddition,
    declaration_changes,
};

/// What a rebuild would take, as far as it can be known beforehand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RebuildPreview {
    /// The projection's name.
    pub projection: String,
    /// The generation that readers see.
    pub live_generation: i32,
    /// What the code declares otherwise than what built that generation, a sentence each.
    pub changes: Vec<String>,
    /// Whether it is needed.
    pub need: RebuildNeed,
    /// What would be read of each partition.
    pub reads: Vec<OffsetRange>,
    /// How many offsets that are.
    pub records: u64,
    /// How long that takes at the rate of the latest rebuild, if there was one.
    pub seconds: Option<f64>,
    /// What the live tables take on disk, and the new ones about as well until the old are dropped.
    pub bytes: u64,
    /// What the live generation was built from and the log no longer holds, a sentence for each partition.
    pub forgotten: Vec<String>,
    /// Privileges on the stable names. They survive.
    pub grants: Vec<String>,
    /// Views and other objects of users that are made of the stable names.
    pub dependents: Vec<String>,
    /// Objects of users that depend on physical tables, and are in the way when those are dropped, a sentence each.
    pub in_the_way: Vec<String>,
    /// Why the stable names can't be changed in place, a sentence each.
    pub incompatible: Vec<String>,
    /// What users added to the live tables and the stable names, and what becomes of it.
    pub additions: Vec<UserAddition>,
    /// Why the rebuild would be refused, a sentence each.
    pub refusals: Vec<String>,
}

/// Whether a projection has to be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "reason", rename_all = "snake_case")]
pub enum RebuildNeed {
    /// The code declares what built the live generation: a rebuild would only repair rows.
    Nothing,
    /// A copy of the live rows will do, under the condition that this says.
    CopyIsEnough(String),
    /// The log has to be replayed.
    Full,
}

/// What is read of one partition: the offsets from `from` up to, and without, `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OffsetRange {
    /// Which topic.
    pub topic: String,
    /// Which of its partitions.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// One past the last.
    pub to: i64,
}

/// What was found of the log and the store.
#[derive(Clone, Copy, Debug)]
pub struct PreviewInputs<'a> {
    /// The generation that readers see.
    pub live: &'a GenerationStatus,
    /// How far each partition reaches.
    pub extents: &'a Extents,
    /// Operations on the projection, by number.
    pub operations: &'a [Operation],
    /// What is around the live tables.
    pub swap_impact: &'a SwapImpact,
    /// What users added to them.
    pub additions: &'a [UserAddition],
    /// What depends on the physical tables of the live generation and of those that stand by.
    pub dependents: &'a [Dependent],
}

impl RebuildPreview {
    /// What the rebuild that `asked` describes would take, with `definition`.
    pub fn of(asked: &Rebuild, definition: &Definition, found: PreviewInputs<'_>) -> Self {
        let PreviewInputs { live, extents, operations, swap_impact, additions, dependents } = found;
        let changes = declaration_changes(definition, live);
        let version_changed = i64::from(live.version) != i64::from(definition.version());
        let reads = offset_ranges(&asked.begin, extents, live);
        let records = reads.iter().map(|stretch| u64::try_from(stretch.to - stretch.from).unwrap_or(0)).sum();
        let forgotten = if asked.begin == RebuildStart::Earliest { forgotten(extents, Some(live)) } else { Vec::new() };
        let forgotten: Vec<String> = forgotten.iter().map(ToString::to_string).collect();
        Self {
            projection: live.projection.clone(),
            live_generation: live.generation.0,
            need: need(&changes, &live.tables, definition.tables(), version_changed),
            changes,
            reads,
            records,
            seconds: measured_rate(operations).map(|per_second| records as f64 / per_second),
            bytes: swap_impact.bytes,
            refusals: refusals(asked, &forgotten, swap_impact),
            forgotten,
            grants: swap_impact.grants.clone(),
            dependents: swap_impact.dependents.clone(),
            in_the_way: dependents.iter().map(ToString::to_string).collect(),
            incompatible: swap_impact.incompatible.clone(),
            additions: additions.iter().cloned().map(|added| added.in_a_rebuild(asked.keep_indexes)).collect(),
        }
    }
}

/// Whether a rebuild is needed to get from the tables `old` to the tables `new`, where `changes` says all that differs.
pub fn need(changes: &[String], old: &[TableSpec], new: &[TableSpec], version_changed: bool) -> RebuildNeed {
    if changes.is_empty() {
        return RebuildNeed::Nothing;
    }
    match additions(old, new) {
        Some(added) if !version_changed && !added.is_empty() => {
            RebuildNeed::CopyIsEnough(format!("`--from live` is enough if only new events set {}", added.join(", ")))
        }
        // Without a difference in the tables it is topics or event types that changed, of which nothing is recorded.
        Some(_) if !version_changed && storage_changed(old, new) => RebuildNeed::CopyIsEnough(
            "`--from live` is enough if nothing but indexes or storage parameters changed".into(),
        ),
        _ => RebuildNeed::Full,
    }
}

/// The columns that `new` has beyond those of `old`, when rows can do without them and nothing else about rows changed.
fn additions(old: &[TableSpec], new: &[TableSpec]) -> Option<Vec<String>> {
    let mut added = Vec::new();
    for table in new {
        let before = old.iter().find(|before| before.name() == table.name())?;
        let kept = before.columns().iter().all(|column| table.columns().contains(column));
        if !kept || before.key_columns() != table.key_columns() || compared_by_newer(before) != compared_by_newer(table)
        {
            return None;
        }
        for column in table.columns().iter().filter(|column| !before.columns().contains(column)) {
            if *column.presence() == Presence::Required {
                return None;
            }
            added.push(format!("`{}.{}`", table.name(), column.name()));
        }
    }
    (old.len() == new.len()).then_some(added)
}

fn compared_by_newer(table: &TableSpec) -> Option<(&Column, &Column)> {
    let (at, tie) = table.newer_columns()?;
    Some((&table.data_columns()[at], &table.data_columns()[tie]))
}

/// Whether a table has other indexes or storage parameters.
fn storage_changed(old: &[TableSpec], new: &[TableSpec]) -> bool {
    let storage = |table: &TableSpec| (table.indexes().to_vec(), table.storage_parameters().to_vec());
    new.iter().any(|table| old.iter().any(|old| old.name() == table.name() && storage(old) != storage(table)))
}

/// What a rebuild that begins there reads of each partition.
fn offset_ranges(begin: &RebuildStart, extents: &Extents, live: &GenerationStatus) -> Vec<OffsetRange> {
    let positions = live.positions();
    let stretch = |(partition, extent): (&TopicPartition, &Extent)| {
        let live = || positions.get(partition).copied();
        let from = match begin {
            RebuildStart::Earliest => None,
            RebuildStart::Live => live(),
            RebuildStart::Offsets(offsets) => offsets.get(&partition.to_string()).copied().or_else(live),
        };
        let from = from.unwrap_or(extent.start);
        OffsetRange {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            from,
            to: extent.end.max(from),
        }
    };
    extents.iter().map(stretch).collect()
}

/// How many offsets a second the latest rebuild took.
fn measured_rate(operations: &[Operation]) -> Option<f64> {
    let rebuilds = operations.iter().rev().filter(|operation| matches!(operation.command, Command::Rebuild(_)));
    let done = rebuilds.filter(|operation| operation.state == OperationState::Done);
    done.filter_map(|operation| operation.progress.as_ref()?.per_second).find(|rate| *rate > 0.0)
}

fn refusals(asked: &Rebuild, forgotten: &[String], swap_impact: &SwapImpact) -> Vec<String> {
    let mut refusals = Vec::new();
    if !forgotten.is_empty() && !asked.accept_truncated {
        refusals.push(
            "the log no longer holds all that the live generation was built from: `--accept-truncated` rebuilds from \
             what is left"
                .into(),
        );
    }
    let stuck = !swap_impact.incompatible.is_empty() && !swap_impact.dependents.is_empty();
    if stuck && !asked.no_activate {
        refusals.push(format!(
            "the views have to be made anew, which {} would prevent: drop what depends on them first",
            swap_impact.dependents.join(", ")
        ));
    }
    refusals
}

#[cfg(test)]
pub(crate) mod tests {
    use readcast_core::{ColumnType, differences};

    use super::*;
    use crate::store::OperationProgress;

    fn table() -> TableSpec {
        TableSpec::new("t").key("id", ColumnType::Text).column("a", ColumnType::I64)
    }

    fn needed(old: TableSpec, new: TableSpec) -> RebuildNeed {
        let (old, new) = ([old], [new]);
        need(&differences(&old, &new), &old, &new, false)
    }

    #[test]
    fn what_rows_can_do_without_needs_no_replay() {
        let copy = |new| matches!(needed(table(), new), RebuildNeed::CopyIsEnough(_));
        assert_eq!(needed(table(), table()), RebuildNeed::Nothing);
        assert!(copy(table().nullable("b", ColumnType::Text)));
        assert!(copy(table().with_default("b", ColumnType::I64, 0).index(["b"])));
        assert!(copy(table().index(["a"])));
        assert!(copy(table().storage("fillfactor", 70)));
        let said = needed(table(), table().nullable("b", ColumnType::Text).nullable("c", ColumnType::Text));
        assert_eq!(
            said,
            RebuildNeed::CopyIsEnough("`--from live` is enough if only new events set `t.b`, `t.c`".into())
        );
    }

    #[test]
    fn what_changes_rows_that_stand_needs_a_replay() {
        let full = |new| needed(table(), new) == RebuildNeed::Full;
        assert!(full(table().column("b", ColumnType::Text)), "a required column");
        assert!(full(TableSpec::new("t").key("id", ColumnType::Text).column("a", ColumnType::I32)), "another type");
        assert!(full(TableSpec::new("t").key("id", ColumnType::Text)), "a column is gone");
        assert!(full(TableSpec::new("u").key("id", ColumnType::Text)), "another table");
        let pair = || table().nullable("x", ColumnType::I64).nullable("y", ColumnType::I64);
        assert_eq!(needed(pair().newer_by("x", "y"), pair().newer_by("y", "x")), RebuildNeed::Full);
    }

    #[test]
    fn what_the_tables_do_not_show_needs_a_replay() {
        let changes = ["its version changed from 1 to 2".to_owned()];
        assert_eq!(need(&changes, &[table()], &[table()], true), RebuildNeed::Full);
        assert_eq!(need(&changes, &[table()], &[table().nullable("b", ColumnType::Text)], true), RebuildNeed::Full);
        let topics = ["its topics, its event types or the order of its columns changed".to_owned()];
        assert_eq!(need(&topics, &[table()], &[table()], false), RebuildNeed::Full);
        let another = [table(), TableSpec::new("u").key("id", ColumnType::Text)];
        assert_eq!(need(&differences(&[table()], &another), &[table()], &another, false), RebuildNeed::Full);
    }

    fn live_at(next_offsets: &[(i32, i64)]) -> GenerationStatus {
        GenerationStatus { tables: vec![table()], ..GenerationStatus::live_at(next_offsets) }
    }

    #[test]
    fn it_reads_from_where_it_begins_to_the_end() {
        let extent = |start, end| Extent { start, end, log_id: None };
        let partition = |number| TopicPartition::new("orders", number);
        let extents =
            Extents::from([(partition(0), extent(5, 50)), (partition(1), extent(0, 80)), (partition(2), extent(3, 9))]);
        let live = live_at(&[(0, 40), (1, 70)]);
        let froms = |begin| offset_ranges(&begin, &extents, &live).iter().map(|read| read.from).collect::<Vec<_>>();
        assert_eq!(froms(RebuildStart::Earliest), [5, 0, 3]);
        assert_eq!(froms(RebuildStart::Live), [40, 70, 3], "the live one has not begun with the last yet");
        assert_eq!(froms(RebuildStart::Offsets([("orders/1".to_owned(), 60)].into())), [40, 60, 3]);
    }

    #[test]
    fn the_latest_rebuild_that_was_done_gives_the_rate() {
        let rebuild = |state, per_second| Operation {
            id: 1,
            projection: "p".into(),
            command: Command::Rebuild(asked()),
            requested_by: String::new(),
            requested_at: String::new(),
            state,
            generation: None,
            progress: Some(OperationProgress { per_second, ..OperationProgress::default() }),
            outcome: None,
            finished_at: None,
        };
        let done = [OperationState::Done; 2].map(|state| rebuild(state, Some(7.0)));
        assert_eq!(measured_rate(&[]), None);
        assert_eq!(measured_rate(&[rebuild(OperationState::Refused, Some(9.0))]), None);
        let [first, second] = done;
        let latest = rebuild(OperationState::Done, Some(8.0));
        assert_eq!(measured_rate(&[first, second, latest, rebuild(OperationState::Done, None)]), Some(8.0));
    }

    fn asked() -> Rebuild {
        Rebuild::of("h")
    }

    #[test]
    fn a_log_that_is_cut_and_views_that_others_build_on_are_refused_beforehand() {
        let cut = ["orders/0: [0, 5) is gone, 5 offsets".to_owned()];
        let free = SwapImpact::default();
        assert_eq!(refusals(&asked(), &[], &free).len(), 0);
        assert_eq!(refusals(&asked(), &cut, &free).len(), 1);
        assert_eq!(refusals(&Rebuild { accept_truncated: true, ..asked() }, &cut, &free).len(), 0);
        let tied = SwapImpact {
            dependents: vec!["view report".into()],
            incompatible: vec!["column `a` is gone".into()],
            ..SwapImpact::default()
        };
        assert!(refusals(&asked(), &[], &tied)[0].contains("view report"));
        assert_eq!(refusals(&Rebuild { no_activate: true, ..asked() }, &[], &tied).len(), 0);
    }
}
