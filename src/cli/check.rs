//! `readcast check`: everything that would be refused at start, told beforehand. Changes nothing.

use std::process::ExitCode;
use std::sync::Arc;

use comfy_table::Table;
use readcast_core::Definition;
use serde::Serialize;

use super::connect::{self, advised};
use super::status::OLD_SNAPSHOT;
use super::terminal::{escape, escape_lines};
use super::{Context, Output, Refusal};
use crate::operations::log_history::unreadable_position;
use crate::plan::{Identity, RecordPolicy};
use crate::schemes::Access;
use crate::source::{Extents, Source};
use crate::store::{GenerationState, GenerationStatus, ParkingLimits, Store, StoreError, declaration_changes};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// How the findings are written
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Line {
    what: String,
    ok: bool,
    /// It is not refused, and hardly meant.
    warning: bool,
    finding: String,
    /// The store gave no answer.
    #[serde(skip)]
    unanswered: bool,
}

impl Line {
    fn new(what: impl Into<String>, finding: Result<String, String>) -> Self {
        let ok = finding.is_ok();
        let finding = finding.unwrap_or_else(|problem| problem);
        Self { what: what.into(), ok, warning: false, finding, unanswered: false }
    }

    fn warning(what: impl Into<String>, finding: &str) -> Self {
        Self { warning: true, ..Self::new(what, Ok(finding.to_owned())) }
    }

    fn unanswered(what: impl Into<String>, error: &StoreError) -> Self {
        Self { unanswered: error.may_pass(), ..Self::new(what, Err(error.to_string())) }
    }

    fn verdict(&self) -> &'static str {
        match (self.ok, self.warning) {
            (false, _) => "PROBLEM",
            (true, true) => "WARNING",
            (true, false) => "ok",
        }
    }
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, Refusal> {
    let source = connect::source(&context).await?;
    let mut lines = vec![Line::new("configuration", Ok("can be read".into()))];
    lines.extend(context.config.warnings().iter().map(|warning| Line::warning("configuration", warning)));
    let opened = connect::store(&context, Access::Read).await;
    let store = match opened {
        Ok(store) => Some(store),
        Err(Refusal::Failed(problem)) => {
            lines.push(Line::new("store", Err(problem)));
            None
        }
        Err(refusal) => return Err(refusal),
    };
    if let Some(store) = &store {
        lines.extend(deployment_lines(&**store, &context).await?);
    }
    if let Some(store) = answering(&store, &lines) {
        if let Ok(Some(held)) = store.oldest_snapshot(OLD_SNAPSHOT).await {
            lines.push(Line::warning("store: oldest snapshot", &escape(&held.to_string())));
        }
        notice_lines(store, &context, &mut lines).await;
    }
    for definition in context.app.registry.definitions() {
        let name = definition.name();
        handling_lines(name, &connect::record_policy(&context, &context.config.projection(name)), &mut lines);
        // Asked before the log: what runs meanwhile would otherwise have come further than it reached.
        let found = match answering(&store, &lines) {
            Some(store) => Some(generations(store, name).await),
            None => None,
        };
        let extents = source_line(&*source, definition, &mut lines).await;
        match (answering(&store, &lines), found) {
            (Some(asked), Some(found)) => {
                store_lines(asked, &context, definition, found, &extents, &mut lines).await;
            }
            _ => lines.push(Line::new(format!("{name}: tables"), Err("the store does not answer".into()))),
        }
    }
    print(&lines, arguments.output)?;
    Ok(if lines.iter().all(|line| line.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The store, as long as it has answered: otherwise it would not answer the next question either, and each takes until its
/// time is out.
fn answering<'s>(store: &'s Option<Arc<dyn Store>>, lines: &[Line]) -> Option<&'s dyn Store> {
    store.as_deref().filter(|_| !lines.iter().any(|line| line.unanswered))
}

/// Whose database it is, and whether the server has enough connections.
async fn deployment_lines(store: &dyn Store, context: &Context) -> Result<Vec<Line>, Refusal> {
    let recorded = match store.deployment().await {
        Ok(recorded) => recorded,
        Err(error) => return Ok(vec![Line::unanswered("store: deployment", &error)]),
    };
    let ours = connect::deployment(context)?;
    let mut lines = Vec::new();
    let same = ours.is_that_of(recorded.as_ref());
    lines.push(Line::new("store: deployment", same.map(|()| ours.to_string()).map_err(|error| advised(error.into()))));
    let configured = connect::instance(context).max_connections.unwrap_or_default();
    match store.capacity().await {
        Ok(None) => {}
        Ok(Some(capacity)) => lines.push(match capacity.suffices_for(configured) {
            Ok(finding) => Line::new("store: connections", Ok(finding)),
            Err(finding) => Line::warning("store: connections", &finding),
        }),
        Err(error) => lines.push(Line::unanswered("store: connections", &error)),
    }
    Ok(lines)
}

/// What stops nothing and an operator must know.
async fn notice_lines(store: &dyn Store, context: &Context, lines: &mut Vec<Line>) {
    // A store that can't say it is told of further down.
    let notices = store.notices().await.unwrap_or_default();
    for notice in notices.iter().filter(|notice| context.app.registry.get(&notice.projection).is_some()) {
        lines.push(Line::warning(format!("{}: notice", notice.projection), &escape(&notice.to_string())));
    }
}

/// What is done about records that can't be projected, or were written twice, where it is not the default.
fn handling_lines(name: &str, record_policy: &RecordPolicy, lines: &mut Vec<Line>) {
    let default = RecordPolicy::default();
    let RecordPolicy { identity, duplicate_window, max_record_bytes, parking, .. } = record_policy;
    if *parking != default.parking {
        let ParkingLimits { records, of_one_key } = parking;
        let finding = match records {
            0 => "nothing is parked: it halts at the first record that can't be projected".to_owned(),
            _ => format!("it halts when more than {records} records are parked, or {of_one_key} of one key"),
        };
        lines.push(Line::new(format!("{name}: parking"), Ok(finding)));
    }
    if *max_record_bytes != default.max_record_bytes {
        let finding = format!("records of more than {max_record_bytes} bytes are parked unread");
        lines.push(Line::new(format!("{name}: record size"), Ok(finding)));
    }
    let what = format!("{name}: duplicates");
    let known_by = match identity {
        Identity::Body => "the id in the event".to_owned(),
        Identity::Header(header) => format!("the header `{header}`"),
        Identity::Sequence(header) => format!("its key and the number in the header `{header}`"),
    };
    if *duplicate_window > 0 {
        let finding = format!("an event is known again by {known_by}, over {duplicate_window} offsets");
        lines.push(Line::new(what, Ok(finding)));
    } else if *identity != default.identity {
        let finding = "`duplicate_id` is set and has no effect, because `duplicate_window` is 0";
        lines.push(Line::warning(what, finding));
    }
}

async fn source_line(source: &dyn Source, definition: &Definition, lines: &mut Vec<Line>) -> Extents {
    let found = source.extents(definition.topics()).await;
    let finding = found.as_ref().map_err(ToString::to_string).map(|extents| {
        let records: i64 = extents.values().map(|extent| extent.end - extent.start).sum();
        format!("{} partitions, {records} offsets", extents.len())
    });
    lines.push(Line::new(format!("{}: log", definition.name()), finding));
    for form in source.forms(definition.topics()).await.unwrap_or_default() {
        lines.push(Line::new(format!("{}: lines", definition.name()), Ok(form)));
    }
    found.unwrap_or_default()
}

async fn store_lines(
    store: &dyn Store,
    context: &Context,
    definition: &Definition,
    found: Result<Vec<GenerationStatus>, StoreError>,
    extents: &Extents,
    lines: &mut Vec<Line>,
) {
    let name = definition.name();
    let findings = match &found {
        Ok(generations) => findings(store, context, definition, generations).await,
        Err(error) => Err(error.clone()),
    };
    let tables = |finding| Line::new(format!("{name}: tables"), finding);
    match findings {
        Err(error) => return lines.push(Line::unanswered(format!("{name}: tables"), &error)),
        Ok(findings) if findings.is_empty() => lines.push(tables(Ok("as declared".into()))),
        Ok(findings) => lines.extend(findings.into_iter().map(tables)),
    }
    for generation in found.iter().flatten().filter(|generation| generation.has_tables) {
        if !lines.iter().any(|line| line.unanswered) {
            dependent_lines(store, generation, lines).await;
        }
    }
    for generation in found.iter().flatten().filter(|generation| generation.state.is_fed()) {
        let number = generation.generation.0;
        lines.push(Line::new(format!("{name}: positions of generation {number}"), positions(generation, extents)));
    }
    let live = found.iter().flatten().find(|found| found.state == GenerationState::Live);
    if let Some(live) = live.filter(|_| !lines.iter().any(|line| line.unanswered)) {
        addition_lines(store, context, definition, live, lines).await;
    }
}

/// What users added to what readers see, with a warning where the next swap takes it away.
async fn addition_lines(
    store: &dyn Store,
    context: &Context,
    definition: &Definition,
    live: &GenerationStatus,
    lines: &mut Vec<Line>,
) {
    let what = format!("{}: added", definition.name());
    let keep_indexes = context.config.projection(definition.name()).keep_indexes;
    match store.additions(live, definition).await {
        Err(error) => lines.push(Line::unanswered(what, &error)),
        Ok(found) => lines.extend(found.into_iter().map(|added| {
            let added = added.in_a_rebuild(keep_indexes);
            let warning = added.is_lost();
            Line { warning, ..Line::new(&*what, Ok(escape_lines(&added.sentence()))) }
        })),
    }
}

/// What of users' is in the way when the tables of the generation are dropped.
async fn dependent_lines(store: &dyn Store, generation: &GenerationStatus, lines: &mut Vec<Line>) {
    let what = format!("{}: dependents of generation {}", generation.projection, generation.generation.0);
    match store.dependents(generation).await {
        Err(error) => lines.push(Line::unanswered(what, &error)),
        Ok(found) => lines.extend(found.iter().map(|found| Line::warning(what.clone(), &escape(&found.to_string())))),
    }
}

async fn generations(store: &dyn Store, projection: &str) -> Result<Vec<GenerationStatus>, StoreError> {
    let mut generations = store.generations().await?;
    generations.retain(|found| found.projection == projection);
    Ok(generations)
}

/// What `run` would refuse, create or rebuild.
async fn findings(
    store: &dyn Store,
    context: &Context,
    definition: &Definition,
    generations: &[GenerationStatus],
) -> Result<Vec<Result<String, String>>, StoreError> {
    let name = definition.name();
    let Some(live) = generations.iter().find(|found| found.state == GenerationState::Live) else {
        let taken = store.name_conflicts(definition).await?.into_iter().map(Err);
        let new = definition.tables().iter().map(|table| {
            let table = table.name();
            Ok(format!("table `{table}` does not exist yet: `readcast migrate` or `readcast run` creates it"))
        });
        return Ok(taken.chain(new).collect());
    };
    let rebuilds = context.config.projection(name).rebuild_on_change;
    let mut changes = declaration_changes(definition, live);
    if !changes.is_empty() {
        let next = if rebuilds { "`readcast run` does that".into() } else { format!("`readcast rebuild {name}`") };
        changes.push(format!("the tables hold what the earlier declaration made, they must be rebuilt: {next}"));
    }
    let mut findings: Vec<_> = changes.into_iter().map(if rebuilds { Ok } else { Err }).collect();
    // Compared with any other definition than the one that built them, all tables would look altered.
    let mut versions = context.app.registry.versions(name);
    if let Some(builder) = versions.find(|version| version.hash() == live.definition_hash) {
        findings.extend(store.alterations(builder, live.generation).await?.into_iter().map(Err));
    }
    Ok(findings)
}

/// Whether the log still holds what comes next, in every partition.
fn positions(generation: &GenerationStatus, extents: &Extents) -> Result<String, String> {
    let gone = generation.checkpoints.iter().find(|held| !extents.contains_key(&held.partition));
    let gone = gone.map(|held| format!("{} is not in the log", held.partition));
    if let Some(fault) = gone.or_else(|| unreadable_position(generation, extents)) {
        return Err(fault);
    }
    Ok(format!("{} checkpoints, all within the log", generation.checkpoints.len()))
}

fn print(lines: &[Line], output: Output) -> Result<(), Refusal> {
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(lines).map_err(Refusal::failed)?),
        Output::Table => {
            let mut table = Table::new();
            table.load_style(comfy_table::presets::NOTHING).set_header(["", "CHECKED", "FINDING"]);
            for line in lines {
                table.add_row([line.verdict(), &line.what, &line.finding]);
            }
            println!("{table}");
        }
    }
    Ok(())
}
