//! Everything that would be refused at start, found beforehand. Changes nothing.

mod record_policy;
mod records;
mod tables;

use std::collections::BTreeSet;
use std::sync::Arc;

use readcast_core::{Definition, Registry};
use serde::Serialize;

use super::ControlError;
use super::status::OLD_SNAPSHOT;
use crate::source::{Extents, Source};
use crate::store::{Deployment, GenerationState, Store, StoreError, has_files, superseded_file, with_stored};
use crate::supervisor::Options;

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub what: String,
    /// Whether `run` would accept it.
    pub ok: bool,
    /// It is accepted, and probably not intended.
    pub warning: bool,
    /// What was found.
    pub finding: String,
}

impl Check {
    /// The result of a check: what was found, or what is wrong.
    pub fn new(what: impl Into<String>, result: Result<String, String>) -> Self {
        let ok = result.is_ok();
        Self { what: what.into(), ok, warning: false, finding: result.unwrap_or_else(|problem| problem) }
    }

    /// Something that is accepted, and probably not intended.
    pub fn warning(what: impl Into<String>, finding: impl Into<String>) -> Self {
        Self { warning: true, ..Self::new(what, Ok(finding.into())) }
    }
}

/// What is checked.
pub struct CheckInputs<'a> {
    /// The projections to check.
    pub registered: &'a Registry,
    /// The log that the projections read.
    pub source: &'a dyn Source,
    /// The store, or why it can't be opened.
    pub store: Result<Arc<dyn Store>, String>,
    /// The deployment according to the configuration.
    pub deployment: Deployment,
    /// How many connections a process may have, where there is a server.
    pub max_connections: u32,
    /// How each projection is run.
    pub options: &'a dyn Fn(&str) -> Options,
}

/// Checks deployment, connections, declarations, tables, and positions against the log.
pub async fn run_checks(inputs: CheckInputs<'_>) -> Vec<Check> {
    let versions = match &inputs.store {
        Ok(store) if has_files(inputs.registered) => versions_in(&**store, inputs.registered).await,
        _ => Ok(inputs.registered.clone()),
    };
    let registry = versions.as_ref().unwrap_or(inputs.registered);
    let mut checks =
        Checks { inputs: &inputs, registry, found: Vec::new(), sampled: BTreeSet::new(), store_is_silent: false };
    if let Err(error) = &versions {
        checks.store_failed("store", error);
    }
    match &inputs.store {
        Ok(store) if !checks.store_is_silent => checks.store(&**store).await,
        Ok(_) => {}
        Err(problem) => checks.add("store", Err(problem.clone())),
    }
    checks.schema_registry().await;
    for definition in registry.definitions() {
        let file = inputs.registered.get(definition.name());
        if let Some(superseded) = file.and_then(|file| superseded_file(file, registry)) {
            checks.warn(format!("{}: file", definition.name()), superseded);
        }
        checks.projection(definition).await;
    }
    checks.found
}

async fn versions_in(store: &dyn Store, registered: &Registry) -> Result<Registry, StoreError> {
    with_stored(registered, &store.generations().await?, store).await
}

/// The checks so far.
struct Checks<'a> {
    inputs: &'a CheckInputs<'a>,
    /// The projections, with the versions that they have beside the generations in the store.
    registry: &'a Registry,
    found: Vec<Check>,
    /// The topics of which records were read.
    sampled: BTreeSet<String>,
    /// The store has not answered. It would not answer the next question either, and each takes until its time-out.
    store_is_silent: bool,
}

impl<'a> Checks<'a> {
    fn add(&mut self, what: impl Into<String>, result: Result<String, String>) {
        self.found.push(Check::new(what, result));
    }

    fn warn(&mut self, what: impl Into<String>, finding: impl Into<String>) {
        self.found.push(Check::warning(what, finding));
    }

    fn store_failed(&mut self, what: impl Into<String>, error: &StoreError) {
        self.store_is_silent |= error.may_pass();
        self.add(what, Err(error.to_string()));
    }

    /// The store, as long as it answers.
    fn answering_store(&self) -> Option<&'a dyn Store> {
        self.inputs.store.as_deref().ok().filter(|_| !self.store_is_silent)
    }

    /// Whose database it is, whether the server has enough connections, and what an operator has to know.
    async fn store(&mut self, store: &dyn Store) {
        match store.deployment().await {
            Ok(recorded) => {
                let ours = &self.inputs.deployment;
                let same = ours.is_that_of(recorded.as_ref());
                self.add(
                    "store: deployment",
                    same.map(|()| ours.to_string()).map_err(|error| ControlError::from(error).to_string()),
                );
                self.connections(store).await;
            }
            Err(error) => self.store_failed("store: deployment", &error),
        }
        if self.store_is_silent {
            return;
        }
        if let Ok(Some(oldest)) = store.oldest_snapshot(OLD_SNAPSHOT).await {
            self.warn("store: oldest snapshot", oldest.to_string());
        }
        // A store without notices is reported with its tables.
        for notice in store.notices().await.unwrap_or_default() {
            if self.registry.get(&notice.projection).is_some() {
                self.warn(format!("{}: notice", notice.projection), notice.to_string());
            }
        }
    }

    /// Whether the schema registry answers. All projections have the same one.
    async fn schema_registry(&mut self) {
        if let Some(definition) = self.registry.definitions().first() {
            let decoders = &(self.inputs.options)(definition.name()).record_policy.decoders;
            if let Some(answer) = decoders.check_registry().await {
                self.add("schema registry", answer);
            }
        }
    }

    async fn connections(&mut self, store: &dyn Store) {
        match store.capacity().await {
            Ok(None) => {}
            Ok(Some(capacity)) => match capacity.suffices_for(self.inputs.max_connections) {
                Ok(finding) => self.add("store: connections", Ok(finding)),
                Err(finding) => self.warn("store: connections", finding),
            },
            Err(error) => self.store_failed("store: connections", &error),
        }
    }

    async fn projection(&mut self, definition: &Definition) {
        let name = definition.name();
        let options = (self.inputs.options)(name);
        self.found.extend(record_policy::checks(name, &options.record_policy));
        // The store is queried before the log: otherwise an instance could commit beyond the end of the log that was
        // read.
        let generations = match self.answering_store() {
            Some(store) => Some(tables::generations(store, name).await),
            None => None,
        };
        let extents = self.log(definition).await;
        let live = generations.iter().flatten().flatten().find(|found| found.state == GenerationState::Live);
        let kept = live.and_then(|found| found.duplicate_window);
        if !extents.is_empty() {
            self.found.push(record_policy::duplicates(name, &options.record_policy, extents.len(), kept));
        }
        self.records(definition, &options.group, &options.record_policy, &extents).await;
        match (self.answering_store(), generations) {
            (Some(store), Some(generations)) => {
                self.tables(store, definition, &options.policy, generations, &extents).await;
            }
            _ => self.add(format!("{name}: tables"), Err("the store does not answer".into())),
        }
    }

    async fn log(&mut self, definition: &Definition) -> Extents {
        let (source, name) = (self.inputs.source, definition.name());
        let extents = source.extents(definition.topics()).await;
        let finding = extents.as_ref().map_err(ToString::to_string).map(|extents| {
            let records: i64 = extents.values().map(|extent| extent.end - extent.start).sum();
            format!("{} partitions, {records} offsets", extents.len())
        });
        self.add(format!("{name}: log"), finding);
        for form in source.forms(definition.topics()).await.unwrap_or_default() {
            self.add(format!("{name}: lines"), Ok(form));
        }
        extents.unwrap_or_default()
    }
}
