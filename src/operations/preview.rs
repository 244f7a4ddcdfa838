//! The plan of a rebuild (`rebuild --plan`): whether it is needed, what it reads and what it meets. Pure.

use readcast_core::{Column, Definition, Presence, TableSpec, TopicPartition, type_changes};
use serde::Serialize;

use super::activate::refusal_of_types;
use super::log_history::lost_history;
use crate::source::{Extent, Extents};
use crate::store::{
    Command, Dependent, GenerationStatus, Operation, OperationState, Rebuild, RebuildStart, SwapImpact, UserAddition,
    declaration_changes,
};

/// A forecast of a rebuild: what it would read, its duration and size, and its obstacles, if they are known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RebuildPreview {
    /// The projection's name.
    pub projection: String,
    /// The generation that readers see.
    pub live_generation: i32,
    /// How the code's declaration differs from the one that built that generation, a sentence each.
    pub changes: Vec<String>,
    /// Whether a rebuild is needed.
    pub need: RebuildNeed,
    /// The offsets that it would read of each partition.
    pub reads: Vec<OffsetRange>,
    /// The number of these offsets in total.
    pub records: u64,
    /// The estimated duration in seconds at the rate of the latest rebuild. `None` if there was none.
    pub seconds: Option<f64>,
    /// The bytes of the live tables on disk. The new tables take about the same, in addition until the old ones are dropped.
    pub bytes: u64,
    /// The records that the live generation was built from and the log no longer holds, a sentence for each partition.
    pub forgotten: Vec<String>,
    /// The privileges on the stable names. They survive the swap.
    pub grants: Vec<String>,
    /// Views and other objects of users on the stable names.
    pub dependents: Vec<String>,
    /// Objects of users that depend on physical tables and prevent that these are dropped, a sentence each.
    pub in_the_way: Vec<String>,
    /// Why the views of the stable names have to be created again instead of changed, a sentence each.
    pub incompatible: Vec<String>,
    /// The columns that change their types, a sentence each.
    pub type_changes: Vec<String>,
    /// What users added to the live tables and the stable names, and what the rebuild does with it.
    pub additions: Vec<UserAddition>,
    /// Why the rebuild would be refused, a sentence each.
    pub refusals: Vec<String>,
}

/// Whether a projection has to be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "reason", rename_all = "snake_case")]
pub enum RebuildNeed {
    /// The code's declaration is the one that built the live generation: a rebuild would only repair rows.
    Nothing,
    /// A copy of the live rows is enough, under this condition.
    CopyIsEnough(String),
    /// The log has to be replayed.
    Full,
}

/// The offsets of one partition from `from` up to, but not including, `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OffsetRange {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset behind the last.
    pub to: i64,
}

/// What the log and the store say.
#[derive(Clone, Copy, Debug)]
pub struct PreviewInputs<'a> {
    /// The generation that readers see.
    pub live: &'a GenerationStatus,
    /// The first and the next offset of each partition.
    pub extents: &'a Extents,
    /// Operations on the projection, in the order of their numbers.
    pub operations: &'a [Operation],
    /// What a swap of the live tables meets.
    pub swap_impact: &'a SwapImpact,
    /// What users added to the live tables and the stable names.
    pub additions: &'a [UserAddition],
    /// What depends on the physical tables of the live generation and of the standbys.
    pub dependents: &'a [Dependent],
}

impl RebuildPreview {
    /// The plan of the rebuild `requested` with `definition`.
    pub fn of(requested: &Rebuild, definition: &Definition, found: PreviewInputs<'_>) -> Self {
        let PreviewInputs { live, extents, operations, swap_impact, additions, dependents } = found;
        let changes = declaration_changes(definition, live);
        let version_changed = i64::from(live.version) != i64::from(definition.version());
        let reads = offset_ranges(&requested.begin, extents, live);
        let records = reads.iter().map(|range| u64::try_from(range.to - range.from).unwrap_or(0)).sum();
        let forgotten =
            if requested.begin == RebuildStart::Earliest { lost_history(extents, Some(live)) } else { Vec::new() };
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
            refusals: refusals(requested, &forgotten, swap_impact, refusal_of_types(&live.tables, definition.tables())),
            type_changes: type_changes(&live.tables, definition.tables()),
            forgotten,
            grants: swap_impact.grants.clone(),
            dependents: swap_impact.dependents.clone(),
            in_the_way: dependents.iter().map(ToString::to_string).collect(),
            incompatible: swap_impact.incompatible.clone(),
            additions: additions.iter().cloned().map(|added| added.in_a_rebuild(requested.keep_indexes)).collect(),
        }
    }
}

/// Whether a rebuild is needed to get from the tables `old` to the tables `new`, where `changes` names every difference.
pub fn need(changes: &[String], old: &[TableSpec], new: &[TableSpec], version_changed: bool) -> RebuildNeed {
    if changes.is_empty() {
        return RebuildNeed::Nothing;
    }
    match additions(old, new) {
        Some(added) if !version_changed && !added.is_empty() => {
            RebuildNeed::CopyIsEnough(format!("`--from live` is enough if only new events set {}", added.join(", ")))
        }
        // Equal tables mean that topics or event types changed, which the store does not record.
        Some(_) if !version_changed && storage_changed(old, new) => RebuildNeed::CopyIsEnough(
            "`--from live` is enough if nothing but indexes, views or storage parameters changed".into(),
        ),
        _ => RebuildNeed::Full,
    }
}

/// The columns that `new` adds to those of `old`, if existing rows need no value in them and nothing else about rows changed.
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
    let storage =
        |table: &TableSpec| (table.indexes().to_vec(), table.storage_parameters().to_vec(), table.views().to_vec());
    new.iter().any(|table| old.iter().any(|old| old.name() == table.name() && storage(old) != storage(table)))
}

/// The offsets of each partition that a rebuild reads when it begins there.
fn offset_ranges(begin: &RebuildStart, extents: &Extents, live: &GenerationStatus) -> Vec<OffsetRange> {
    let positions = live.positions();
    let range = |(partition, extent): (&TopicPartition, &Extent)| {
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
    extents.iter().map(range).collect()
}

/// The rate of the latest rebuild that is done, in offsets per second.
fn measured_rate(operations: &[Operation]) -> Option<f64> {
    let rebuilds = operations.iter().rev().filter(|operation| matches!(operation.command, Command::Rebuild(_)));
    let done = rebuilds.filter(|operation| operation.state == OperationState::Done);
    done.filter_map(|operation| operation.progress.as_ref()?.per_second).find(|rate| *rate > 0.0)
}

fn refusals(requested: &Rebuild, forgotten: &[String], swap_impact: &SwapImpact, types: Option<String>) -> Vec<String> {
    let mut refusals = Vec::new();
    if let Some(types) = types.filter(|_| !requested.no_activate && !requested.accept_type_change) {
        refusals.push(format!("{types}. `--accept-type-change` rebuilds nevertheless"));
    }
    if !forgotten.is_empty() && !requested.accept_truncated {
        refusals.push(
            "the log no longer holds all records from which the live generation was built. `--accept-truncated` rebuilds \
             from what is left"
                .into(),
        );
    }
    let is_blocked = !swap_impact.incompatible.is_empty() && !swap_impact.dependents.is_empty();
    if is_blocked && !requested.no_activate {
        refusals.push(format!(
            "the views of the stable names have to be created again, and {} would prevent that. Drop what depends on the \
             views first",
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
    fn a_column_that_existing_rows_need_not_have_needs_no_replay() {
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
    fn a_change_of_existing_rows_needs_a_replay() {
        let full = |new| needed(table(), new) == RebuildNeed::Full;
        assert!(full(table().column("b", ColumnType::Text)), "a required column");
        assert!(full(TableSpec::new("t").key("id", ColumnType::Text).column("a", ColumnType::I32)), "another type");
        assert!(full(TableSpec::new("t").key("id", ColumnType::Text)), "a column is gone");
        assert!(full(TableSpec::new("u").key("id", ColumnType::Text)), "another table");
        let pair = || table().nullable("x", ColumnType::I64).nullable("y", ColumnType::I64);
        assert_eq!(needed(pair().newer_by("x", "y"), pair().newer_by("y", "x")), RebuildNeed::Full);
    }

    #[test]
    fn a_change_that_the_tables_do_not_show_needs_a_replay() {
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
    fn it_reads_from_its_start_to_the_end_of_the_log() {
        let extent = |start, end| Extent { start, end, log_id: None };
        let partition = |number| TopicPartition::new("orders", number);
        let extents =
            Extents::from([(partition(0), extent(5, 50)), (partition(1), extent(0, 80)), (partition(2), extent(3, 9))]);
        let live = live_at(&[(0, 40), (1, 70)]);
        let froms = |begin| offset_ranges(&begin, &extents, &live).iter().map(|read| read.from).collect::<Vec<_>>();
        assert_eq!(froms(RebuildStart::Earliest), [5, 0, 3]);
        assert_eq!(froms(RebuildStart::Live), [40, 70, 3], "the live generation has no checkpoint in the last one");
        assert_eq!(froms(RebuildStart::Offsets([("orders/1".to_owned(), 60)].into())), [40, 60, 3]);
    }

    #[test]
    fn the_latest_rebuild_that_is_done_gives_the_rate() {
        let rebuild = |state, per_second| Operation {
            id: 1,
            projection: "p".into(),
            command: Command::Rebuild(requested()),
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

    fn requested() -> Rebuild {
        Rebuild::of("h")
    }

    #[test]
    fn a_truncated_log_and_views_with_dependents_are_refused() {
        let truncated = ["orders/0: [0, 5) is gone, 5 offsets".to_owned()];
        let free = SwapImpact::default();
        assert_eq!(refusals(&requested(), &[], &free, None).len(), 0);
        assert_eq!(refusals(&requested(), &truncated, &free, None).len(), 1);
        assert_eq!(refusals(&Rebuild { accept_truncated: true, ..requested() }, &truncated, &free, None).len(), 0);
        let tied = SwapImpact {
            dependents: vec!["view report".into()],
            incompatible: vec!["column `a` is gone".into()],
            ..SwapImpact::default()
        };
        assert!(refusals(&requested(), &[], &tied, None)[0].contains("view report"));
        assert_eq!(refusals(&Rebuild { no_activate: true, ..requested() }, &[], &tied, None).len(), 0);
    }
}
