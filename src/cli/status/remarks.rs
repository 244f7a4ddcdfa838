//! What there is to say of a projection beyond where it stands: what is being done, what went wrong, and what to type
//! next. Pure.

use super::{Known, operation_on};
use crate::cli::operate::{changed, described};
use crate::cli::terminal::escape;
use crate::operations::accept_loss::unreadable_checkpoints;
use crate::store::{Command, GenerationState, GenerationStatus, Operation, OperationState, has_running_instance};

/// Everything worth a word, a paragraph each.
pub(super) fn remarks(known: &Known<'_>) -> Vec<String> {
    let open = known.operations.iter().filter(|operation| operation.state.is_open()).map(|open| under_way(known, open));
    let finished = known.operations.iter().filter(|operation| !operation.state.is_open()).map(finished);
    let live = known.generations.iter().find(|found| found.state == GenerationState::Live);
    let of_live = live.into_iter().flat_map(|live| [unattended(known, live), otherwise(known, live)]);
    let of_each = known
        .generations
        .iter()
        .flat_map(|found| [ready(known, found), halted(found), retrying(found), lost(known, found), parked(found)]);
    let noted = known.notices.iter().map(|notice| format!("{}: {notice}", notice.projection));
    let remarks = open.chain(of_live.chain(of_each).flatten()).chain(noted).chain(finished);
    // Errors, notices and outcomes may hold something of a record.
    remarks.map(|remark| escape(&remark)).collect()
}

fn under_way(known: &Known<'_>, operation: &Operation) -> String {
    let Operation { id, projection, command, requested_by, requested_at, .. } = operation;
    let progress = operation.progress.as_ref().map(described);
    let state = progress.unwrap_or_else(|| operation.state.name().to_owned());
    let next = next(known, operation);
    let what = command.name();
    format!("{projection}: operation {id}, `{what}` by {requested_by} at {requested_at}: {state}. Next: {next}")
}

/// What to do about an operation that is open.
fn next(known: &Known<'_>, operation: &Operation) -> String {
    let Operation { projection, command, state, .. } = operation;
    let builds =
        |found: &&GenerationStatus| operation_on(&known.operations, found).is_some_and(|open| open == operation);
    let building = known.generations.iter().find(builds);
    if building.is_some_and(is_halted) {
        return format!("correct why its generation is halted, or `readcast cancel {projection}`");
    }
    if building.is_some_and(|found| found.paused_since.is_some()) {
        return format!("`readcast resume {projection} --rebuild`");
    }
    if has_running_instance(known.heartbeats, projection, command.definition_hash()) {
        return format!("wait, or `readcast cancel {projection}`");
    }
    let stands = if *state == OperationState::Running { "it goes on" } else { "it begins" };
    format!(
        "{stands} when an instance with its definition runs: start one, or type `readcast {}`",
        typed(known, operation)
    )
}

/// The command that asks for the same again, and waits.
fn typed(known: &Known<'_>, operation: &Operation) -> String {
    let name = known.definition.name();
    match &operation.command {
        Command::Rebuild(_) => format!("rebuild {name} --wait"),
        Command::RefoldKey { key, .. } => format!("rebuild {name} --key {key}"),
        other => format!("{} {name}", other.name()),
    }
}

fn finished(operation: &Operation) -> String {
    let Operation { id, projection, command, state, .. } = operation;
    let at = operation.finished_at.as_deref().map(|at| format!(" at {at}")).unwrap_or_default();
    let outcome = operation.outcome.as_deref().map(|outcome| format!(": {outcome}")).unwrap_or_default();
    format!("{projection}: operation {id}, `{}`, was {}{at}{outcome}", command.name(), state.name())
}

/// That nobody feeds the tables that readers see. Of a projection that no instance ever had, nothing is known.
fn unattended(known: &Known<'_>, live: &GenerationStatus) -> Option<String> {
    let GenerationStatus { projection, definition_hash, version, .. } = live;
    let ever = known.heartbeats.iter().any(|seen| seen.projection == *projection);
    if !ever || has_running_instance(known.heartbeats, projection, Some(definition_hash)) {
        return None;
    }
    let fed = known
        .heartbeats
        .iter()
        .filter(|seen| seen.projection == *projection && seen.definition_hash == *definition_hash);
    let since = fed.map(|seen| seen.last_seen.as_str()).max();
    let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
    let next = if known.hashes.contains(&definition_hash.as_str()) {
        "`readcast run`".to_owned()
    } else {
        format!("start one with the code that built it, or `readcast rebuild {projection} --wait`")
    };
    Some(format!(
        "{projection}: no running instance can feed the live generation (version {version}){since}. Next: {next}"
    ))
}

fn otherwise(known: &Known<'_>, live: &GenerationStatus) -> Option<String> {
    changed(known.definition, live).map(|changed| format!("{}: {changed}", live.projection))
}

fn ready(known: &Known<'_>, found: &GenerationStatus) -> Option<String> {
    let GenerationStatus { projection, generation, .. } = found;
    let idle = found.state == GenerationState::Ready && operation_on(&known.operations, found).is_none();
    idle.then(|| {
        let next = format!("`readcast activate {projection}`, or `readcast retire {projection}`");
        format!("{projection}: generation {} is ready. Next: {next}", generation.0)
    })
}

fn is_halted(found: &GenerationStatus) -> bool {
    found.last_error.as_ref().is_some_and(|error| error.attempt.is_none())
}

fn halted(found: &GenerationStatus) -> Option<String> {
    let GenerationStatus { projection, generation, state, .. } = found;
    let error = found.last_error.as_ref().filter(|error| error.attempt.is_none())?;
    Some(format!("{projection}: generation {} ({state}) is halted since {}: {}", generation.0, error.since, error.text))
}

/// That something is tried again which may pass.
fn retrying(found: &GenerationStatus) -> Option<String> {
    let GenerationStatus { projection, generation, state, .. } = found;
    let error = found.last_error.as_ref()?;
    let (attempt, since) = (error.attempt?, &error.since);
    let told = format!("{projection}: generation {} ({state}) is retrying since {since}", generation.0);
    Some(format!("{told}, attempt {attempt}: {}", error.text))
}

/// What the log has lost, where that is why the generation is halted.
fn lost(known: &Known<'_>, found: &GenerationStatus) -> Option<String> {
    // A log that can't be reached has lost nothing.
    if !is_halted(found) || known.extents.is_empty() {
        return None;
    }
    let lost: Vec<String> =
        unreadable_checkpoints([found], &known.extents).into_iter().map(|lost| lost.description).collect();
    let next = format!("restore it, or `readcast accept-loss {}`", found.projection);
    (!lost.is_empty()).then(|| format!("{}: {}. Next: {next}", found.projection, lost.join("; ")))
}

/// That readers see keys as they were some time ago, or are going to.
fn parked(found: &GenerationStatus) -> Option<String> {
    let GenerationStatus { projection, generation, state, parked, .. } = found;
    let oldest = parked.oldest.as_ref()?;
    let of_live = *state == GenerationState::Live;
    let flag = if of_live { String::new() } else { format!(" --generation {}", generation.0) };
    let told = format!("{projection}: generation {} ({state}) has {} records", generation.0, parked.records);
    let keys = format!("of {} keys parked, the oldest since {oldest}", parked.keys);
    Some(format!("{told} {keys}. Next: `readcast dead-letters list {projection}{flag}`"))
}

#[cfg(test)]
mod tests {
    use readcast_core::{Changes, ColumnType, Envelope, Projection, ProjectionError, Registry, TableSpec};

    use super::*;
    use crate::source::Extents;
    use crate::store::{Generation, InstanceHeartbeat, OperationProgress, ParkedCounts, Phase, RecordedError};

    struct P;

    impl Projection for P {
        fn name(&self) -> &str {
            "p"
        }

        fn topics(&self) -> &[&str] {
            &["orders"]
        }

        fn event_types(&self) -> &[&str] {
            &["HAPPENED"]
        }

        fn tables(&self) -> Vec<TableSpec> {
            vec![TableSpec::new("t").key("id", ColumnType::Text)]
        }

        fn project(&self, _event: &Envelope<'_>, _changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
            Ok(())
        }
    }

    /// What is said with this code, these generations, this operation and instances with these definitions.
    fn said(
        generations: Vec<GenerationStatus>,
        operation: Option<Operation>,
        heartbeats: &[(&str, bool)],
    ) -> Vec<String> {
        let registry = Registry::new().register(P);
        let definition = &registry.definitions()[0];
        let attended = |(hash, present): &(&str, bool)| InstanceHeartbeat {
            projection: "p".into(),
            definition_hash: if *hash == "code" { definition.hash().into() } else { (*hash).into() },
            present: *present,
            last_seen: "then".into(),
        };
        remarks(&Known {
            definition,
            hashes: vec![definition.hash()],
            extents: Extents::new(),
            generations,
            operations: operation.into_iter().collect(),
            notices: Vec::new(),
            heartbeats: &heartbeats.iter().map(attended).collect::<Vec<_>>(),
        })
    }

    fn live() -> GenerationStatus {
        let registry = Registry::new().register(P);
        let definition = &registry.definitions()[0];
        GenerationStatus {
            definition_hash: definition.hash().into(),
            tables: definition.tables().to_vec(),
            ..GenerationStatus::live_at(&[(0, 40)])
        }
    }

    fn building() -> GenerationStatus {
        let state = GenerationState::Building;
        GenerationStatus { generation: Generation(2), state, phase: Some(Phase::Replay), ..live() }
    }

    fn verifying(state: OperationState) -> Operation {
        let registry = Registry::new().register(P);
        let progress = OperationProgress { phase: "replay".into(), done: 1, total: 4, per_second: None };
        Operation {
            id: 7,
            projection: "p".into(),
            command: Command::Verify { definition_hash: registry.definitions()[0].hash().into() },
            requested_by: "ann@db1".into(),
            requested_at: "noon".into(),
            state,
            generation: Some(Generation(2)),
            progress: Some(progress),
            outcome: Some("all rows are the same".into()),
            finished_at: Some("one".into()),
        }
    }

    #[test]
    fn of_a_projection_that_runs_as_it_should_there_is_nothing_to_say() {
        assert!(said(vec![live()], None, &[("code", true)]).is_empty());
        assert!(said(vec![live()], None, &[]).is_empty(), "nobody knows of an instance that never was");
        assert!(said(Vec::new(), None, &[]).is_empty());
    }

    #[test]
    fn an_open_operation_is_told_with_what_to_type_next() {
        let open = || Some(verifying(OperationState::Running));
        let with = |building, heartbeats: &[_]| said(vec![live(), building], open(), heartbeats)[0].clone();
        let taken = with(building(), &[("code", true)]);
        let expected =
            "p: operation 7, `verify` by ann@db1 at noon: replay, 1 of 4 (25 %). Next: wait, or `readcast cancel p`";
        assert_eq!(taken, expected);
        assert!(with(building(), &[("old", true)]).ends_with("start one, or type `readcast verify p`"));
        let paused = GenerationStatus { paused_since: Some("noon".into()), ..building() };
        assert!(with(paused, &[("code", true)]).ends_with("Next: `readcast resume p --rebuild`"));
        let last_error = Some(RecordedError {
            text: "poison at orders/0@3".into(),
            since: "noon".into(),
            attempt: None,
            ..RecordedError::default()
        });
        let halted = said(vec![live(), GenerationStatus { last_error, ..building() }], open(), &[("code", true)]);
        assert!(
            halted[0].ends_with("Next: correct why its generation is halted, or `readcast cancel p`"),
            "{halted:?}"
        );
        assert_eq!(halted[1], "p: generation 2 (building) is halted since noon: poison at orders/0@3");
    }

    #[test]
    fn what_may_pass_is_told_as_such_and_not_as_a_halt() {
        let error = RecordedError {
            text: "the log is away".into(),
            since: "noon".into(),
            attempt: Some(3),
            ..RecordedError::default()
        };
        let away = GenerationStatus { last_error: Some(error), ..building() };
        let said = said(vec![live(), away], Some(verifying(OperationState::Running)), &[("code", true)]);
        assert!(said[0].ends_with("Next: wait, or `readcast cancel p`"), "{said:?}");
        assert_eq!(said[1..], ["p: generation 2 (building) is retrying since noon, attempt 3: the log is away"]);
    }

    #[test]
    fn what_is_parked_is_told_with_how_to_look_at_it() {
        let parked = ParkedCounts { keys: 2, records: 5, oldest: Some("noon".into()), ..ParkedCounts::default() };
        let of = |generation| GenerationStatus { parked: parked.clone(), ..generation };
        let said = said(vec![of(live()), of(building())], None, &[("code", true)]);
        let expected = [
            "p: generation 1 (live) has 5 records of 2 keys parked, the oldest since noon. Next: `readcast dead-letters \
             list p`",
            "p: generation 2 (building) has 5 records of 2 keys parked, the oldest since noon. Next: `readcast \
             dead-letters list p --generation 2`",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn quotes_of_records_in_errors_are_inert() {
        let last_error = Some(RecordedError {
            text: "\u{1b}[2J".into(),
            since: "noon".into(),
            attempt: None,
            ..RecordedError::default()
        });
        let said = said(vec![GenerationStatus { last_error, ..live() }], None, &[("code", true)]);
        assert_eq!(said, ["p: generation 1 (live) is halted since noon: \\u{1b}[2J"]);
    }

    #[test]
    fn the_last_one_that_ended_is_told_with_its_outcome() {
        let ended = said(vec![live()], Some(verifying(OperationState::Done)), &[("code", true)]);
        assert_eq!(ended, ["p: operation 7, `verify`, was done at one: all rows are the same"]);
    }

    #[test]
    fn tables_that_nobody_can_feed_are_told_with_since_when() {
        let stopped = said(vec![live()], None, &[("code", false)]);
        let expected =
            "p: no running instance can feed the live generation (version 1) since then. Next: `readcast run`";
        assert_eq!(stopped, [expected]);
        let replaced = said(vec![GenerationStatus::live_at(&[])], None, &[("code", true), ("h", false)]);
        assert!(
            replaced[0]
                .ends_with("since then. Next: start one with the code that built it, or `readcast rebuild p --wait`")
        );
        assert!(replaced[1].starts_with("p: the code declares another `p` than the live generation: "), "{replaced:?}");
        assert!(replaced[1].ends_with("Next: `readcast rebuild p`"));
    }

    #[test]
    fn a_generation_that_is_ready_waits_for_a_command() {
        let ready = GenerationStatus { state: GenerationState::Ready, phase: None, ..building() };
        let said = said(vec![live(), ready], None, &[("code", true)]);
        assert_eq!(said, ["p: generation 2 is ready. Next: `readcast activate p`, or `readcast retire p`"]);
    }
}
