//! What there is to say of a projection beyond its positions: what is under way, what is wrong, and what to do next. Pure.

use std::fmt;

use serde::Serialize;

use super::Observed;
use crate::control::{definition_change, progress_text};
use crate::operations::accept_loss::unreadable_checkpoints;
use crate::store::{
    Command, GenerationState, GenerationStatus, InstanceHeartbeat, OldestSnapshot, Operation, RecordedNotice,
    has_running_instance,
};
use crate::text::counted;

/// Something that an operator has to know. It may quote records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The projection's name; none when it is about the store.
    pub projection: Option<String>,
    /// What it is about.
    pub kind: RemarkKind,
    /// What is the case.
    pub text: String,
    /// What to do next, if there is something to do.
    pub next: Option<String>,
}

/// What a remark is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RemarkKind {
    /// An operation is open.
    OpenOperation,
    /// No instance feeds the live generation.
    NotRunning,
    /// The code defines the projection differently from the live generation.
    DefinitionChanged,
    /// The store has a projection that the program does not declare, and no instance runs.
    NotDeclared,
    /// A generation is ready to activate.
    Ready,
    /// A generation is halted.
    Halted,
    /// A generation is retrying.
    Retrying,
    /// The log has lost records that were still to be read.
    LogLoss,
    /// Records are parked.
    Parked,
    /// A notice of the store.
    Notice,
    /// The last operation that has ended.
    EndedOperation,
    /// An old snapshot keeps the store from removing old versions of rows.
    OldSnapshot,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.projection.iter().try_for_each(|projection| write!(f, "{projection}: "))?;
        f.write_str(&self.text)?;
        self.next.iter().try_for_each(|next| write!(f, ". Next: {next}"))
    }
}

impl Remark {
    fn new(kind: RemarkKind, projection: &str, text: String) -> Self {
        Self { projection: Some(projection.to_owned()), kind, text, next: None }
    }

    fn with_next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }
}

/// Everything worth a remark.
pub(super) fn remarks_of(observed: &Observed<'_>) -> Vec<Remark> {
    let (open, ended): (Vec<_>, Vec<_>) = observed.operations.iter().partition(|operation| operation.state.is_open());
    let open = open.into_iter().map(|operation| open_operation(observed, operation));
    let of_live = observed.live().into_iter().flat_map(|live| [not_running(observed, live), changed(observed, live)]);
    let of_each = observed.generations.iter().flat_map(|found| {
        [ready(observed, found), halted(found), retrying(found), log_loss(observed, found), parked(found)]
    });
    let notices = observed.notices.iter().map(notice);
    let ended = ended.into_iter().map(ended_operation);
    open.chain(of_live.chain(of_each).flatten()).chain(notices).chain(ended).collect()
}

/// The projections of the store that are none of `declared` and that no instance runs, such as those whose file was removed.
pub(super) fn not_declared(
    declared: &[&str],
    generations: &[GenerationStatus],
    heartbeats: &[InstanceHeartbeat],
) -> Vec<Remark> {
    let live = generations.iter().filter(|found| found.state == GenerationState::Live);
    let names = live.map(|found| found.projection.as_str()).filter(|name| !declared.contains(name));
    let idle = names.filter(|name| !has_running_instance(heartbeats, name, None));
    let remark = |name| {
        let text = "the database has its tables, and this program does not declare it: they stay, and are not fed";
        let next = format!("put its file or its code back, or `readcast rename {name} NEW` if it has another name now");
        Remark::new(RemarkKind::NotDeclared, name, text.to_owned()).with_next(next)
    };
    idle.map(remark).collect()
}

/// An old snapshot, of whichever projection.
pub(super) fn old_snapshot(oldest: OldestSnapshot) -> Remark {
    let OldestSnapshot { what, next, .. } = oldest;
    Remark { projection: None, kind: RemarkKind::OldSnapshot, text: what, next: Some(next) }
}

fn open_operation(observed: &Observed<'_>, operation: &Operation) -> Remark {
    let Operation { id, projection, command, requested_by, requested_at, state, progress, .. } = operation;
    let progress = progress.as_ref().map(progress_text).unwrap_or_else(|| state.name().to_owned());
    let command = command.name();
    let text = format!("operation {id} (`{command}`, requested by {requested_by} at {requested_at}): {progress}");
    Remark::new(RemarkKind::OpenOperation, projection, text).with_next(next_for(observed, operation))
}

/// What to do about an open operation.
fn next_for(observed: &Observed<'_>, operation: &Operation) -> String {
    let Operation { projection, command, .. } = operation;
    let is_its = |found: &&GenerationStatus| observed.operation_on(found).is_some_and(|open| open == operation);
    let building = observed.generations.iter().find(is_its);
    if let Some(halted) = building.filter(|found| found.is_halted()) {
        let generation = halted.generation.0;
        return format!("correct the error of generation {generation}, or `readcast cancel {projection}`");
    }
    if building.is_some_and(|found| found.paused_since.is_some()) {
        return format!("`readcast resume {projection} --rebuild`");
    }
    if has_running_instance(observed.heartbeats, projection, command.definition_hash()) {
        return format!("wait, or `readcast cancel {projection}`");
    }
    let typed = typed(projection, command);
    format!("no instance with its definition runs: start one, or `readcast {typed}`")
}

/// The command line that requests the same operation and waits for it.
fn typed(projection: &str, command: &Command) -> String {
    match command {
        Command::Rebuild(_) => format!("rebuild {projection} --wait"),
        Command::RefoldKey { key, .. } => format!("rebuild {projection} --key {key}"),
        other => format!("{} {projection}", other.name()),
    }
}

fn ended_operation(operation: &Operation) -> Remark {
    let Operation { id, projection, command, state, .. } = operation;
    let at = operation.finished_at.as_deref().map(|at| format!(" at {at}")).unwrap_or_default();
    let outcome = operation.outcome.as_deref().map(|outcome| format!(": {outcome}")).unwrap_or_default();
    let text = format!("operation {id} (`{}`) was {}{at}{outcome}", command.name(), state.name());
    Remark::new(RemarkKind::EndedOperation, projection, text)
}

/// No instance feeds what readers see. Of a projection that never had an instance, nothing is known.
fn not_running(observed: &Observed<'_>, live: &GenerationStatus) -> Option<Remark> {
    let GenerationStatus { projection, definition_hash, version, .. } = live;
    let mut seen = observed.heartbeats.iter().filter(|seen| seen.projection == *projection).peekable();
    seen.peek()?;
    if has_running_instance(observed.heartbeats, projection, Some(definition_hash)) {
        return None;
    }
    let last_seen = seen.filter(|seen| seen.definition_hash == *definition_hash).map(|seen| &*seen.last_seen).max();
    let rows = last_seen.map(|at| format!("; its rows are as of {at}")).unwrap_or_default();
    let (text, next) = if observed.hashes.contains(&definition_hash.as_str()) {
        (format!("readcast is not running for this projection{rows}"), "`readcast run`".to_owned())
    } else {
        let next = format!("start an instance with that code, or `readcast rebuild {projection} --wait`");
        (format!("no running instance has the code that built the live generation (version {version}){rows}"), next)
    };
    Some(Remark::new(RemarkKind::NotRunning, projection, text).with_next(next))
}

fn changed(observed: &Observed<'_>, live: &GenerationStatus) -> Option<Remark> {
    let (text, next) = definition_change(observed.definition, live)?;
    Some(Remark::new(RemarkKind::DefinitionChanged, &live.projection, text).with_next(next))
}

fn ready(observed: &Observed<'_>, found: &GenerationStatus) -> Option<Remark> {
    let GenerationStatus { projection, generation, .. } = found;
    let waits = found.state == GenerationState::Ready && observed.operation_on(found).is_none();
    waits.then(|| {
        let text = format!("generation {} is ready to activate", generation.0);
        let next = format!("`readcast activate {projection}`, or `readcast retire {projection}` to drop it");
        Remark::new(RemarkKind::Ready, projection, text).with_next(next)
    })
}

/// The recorded text says what to do next.
fn halted(found: &GenerationStatus) -> Option<Remark> {
    let GenerationStatus { projection, generation, state, .. } = found;
    let error = found.last_error.as_ref().filter(|error| error.attempt.is_none())?;
    let text = format!("generation {} ({state}) is halted since {}: {}", generation.0, error.since, error.text);
    Some(Remark::new(RemarkKind::Halted, projection, text))
}

/// An error that may pass, and is tried again.
fn retrying(found: &GenerationStatus) -> Option<Remark> {
    let GenerationStatus { projection, generation, state, .. } = found;
    let error = found.last_error.as_ref()?;
    let (attempt, since) = (error.attempt?, &error.since);
    let text = format!("generation {} ({state}) is retrying since {since}, attempt {attempt}", generation.0);
    Some(Remark::new(RemarkKind::Retrying, projection, format!("{text}: {}", error.text)))
}

/// What the log has lost, where that is why the generation is halted.
fn log_loss(observed: &Observed<'_>, found: &GenerationStatus) -> Option<Remark> {
    // A log that does not answer has lost nothing.
    if !found.is_halted() || observed.extents.is_empty() {
        return None;
    }
    let lost = unreadable_checkpoints([found], &observed.extents).into_iter().map(|lost| lost.description);
    let lost: Vec<String> = lost.collect();
    let next = format!("restore it, or `readcast accept-loss {}`", found.projection);
    (!lost.is_empty()).then(|| Remark::new(RemarkKind::LogLoss, &found.projection, lost.join("; ")).with_next(next))
}

/// Readers see the rows of parked keys as they were when the first record was parked.
fn parked(found: &GenerationStatus) -> Option<Remark> {
    let GenerationStatus { projection, generation, state, parked, .. } = found;
    let oldest = parked.oldest.as_ref()?;
    let flag = if *state == GenerationState::Live { String::new() } else { format!(" --generation {}", generation.0) };
    let (records, keys) = (counted(parked.records, "record"), counted(parked.keys, "key"));
    let generation = generation.0;
    let text = format!("generation {generation} ({state}) has {records} of {keys} parked, the oldest since {oldest}");
    let next = format!("`readcast dead-letters list {projection}{flag}`");
    Some(Remark::new(RemarkKind::Parked, projection, text).with_next(next))
}

fn notice(notice: &RecordedNotice) -> Remark {
    let next = &notice.next;
    let whole = notice.to_string();
    let text = whole.strip_suffix(&format!(". Next: {next}")).unwrap_or(&whole);
    Remark::new(RemarkKind::Notice, &notice.projection, text.to_owned()).with_next(next)
}
