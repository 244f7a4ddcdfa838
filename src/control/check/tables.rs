//! Whether the tables of a projection are as the code declares them, and its positions within the log.

use readcast_core::Definition;

use super::{Check, Checks};
use crate::operations::log_history::unreadable_position;
use crate::operations::{OnChange, Policy};
use crate::source::Extents;
use crate::store::{GenerationState, GenerationStatus, Store, StoreError, declaration_changes};

pub(super) async fn generations(store: &dyn Store, projection: &str) -> Result<Vec<GenerationStatus>, StoreError> {
    let mut generations = store.generations().await?;
    generations.retain(|found| found.projection == projection);
    Ok(generations)
}

impl Checks<'_> {
    pub(super) async fn tables(
        &mut self,
        store: &dyn Store,
        definition: &Definition,
        policy: &Policy,
        generations: Result<Vec<GenerationStatus>, StoreError>,
        extents: &Extents,
    ) {
        let what = format!("{}: tables", definition.name());
        let generations = match generations {
            Ok(generations) => generations,
            Err(error) => return self.store_failed(what, &error),
        };
        match self.declared(store, definition, policy, &generations).await {
            Err(error) => return self.store_failed(what, &error),
            Ok(results) if results.is_empty() => self.add(what, Ok("as declared".into())),
            Ok(results) => self.found.extend(results.into_iter().map(|result| Check::new(&*what, result))),
        }
        for generation in generations.iter().filter(|generation| generation.has_tables) {
            self.dependents(store, generation).await;
        }
        for generation in generations.iter().filter(|generation| generation.state.is_fed()) {
            let what = format!("{}: positions of generation {}", definition.name(), generation.generation.0);
            self.add(what, positions(generation, extents));
        }
        if let Some(live) = generations.iter().find(|found| found.state == GenerationState::Live) {
            self.additions(store, definition, policy, live).await;
        }
    }

    /// What `run` would refuse, create or rebuild.
    async fn declared(
        &self,
        store: &dyn Store,
        definition: &Definition,
        policy: &Policy,
        generations: &[GenerationStatus],
    ) -> Result<Vec<Result<String, String>>, StoreError> {
        let name = definition.name();
        let Some(live) = generations.iter().find(|found| found.state == GenerationState::Live) else {
            let taken = store.name_conflicts(definition).await?.into_iter().map(Err);
            let missing = definition.tables().iter().map(|table| {
                let table = table.name();
                Ok(format!("table `{table}` does not exist yet: `readcast migrate` or `readcast run` creates it"))
            });
            return Ok(taken.chain(missing).collect());
        };
        let rebuilds = policy.on_change == OnChange::Rebuild;
        let mut changes = declaration_changes(definition, live);
        if !changes.is_empty() {
            let next = if rebuilds { "`readcast run` does that".into() } else { format!("`readcast rebuild {name}`") };
            changes.push(format!("the tables were built by the earlier definition and have to be rebuilt: {next}"));
        }
        let mut results: Vec<_> = changes.into_iter().map(if rebuilds { Ok } else { Err }).collect();
        // Compared with any other definition than the one that built them, all tables would look altered.
        let mut versions = self.registry.versions(name);
        if let Some(builder) = versions.find(|version| version.hash() == live.definition_hash) {
            results.extend(store.alterations(builder, live.generation).await?.into_iter().map(Err));
        }
        Ok(results)
    }

    /// Objects of users that are in the way when the tables of the generation are dropped.
    async fn dependents(&mut self, store: &dyn Store, generation: &GenerationStatus) {
        if self.store_is_silent {
            return;
        }
        let what = format!("{}: dependents of generation {}", generation.projection, generation.generation.0);
        match store.dependents(generation).await {
            Err(error) => self.store_failed(what, &error),
            Ok(found) => found.iter().for_each(|dependent| self.warn(&*what, dependent.to_string())),
        }
    }

    /// What users added to the live tables, with a warning where the next swap removes it.
    async fn additions(
        &mut self,
        store: &dyn Store,
        definition: &Definition,
        policy: &Policy,
        live: &GenerationStatus,
    ) {
        if self.store_is_silent {
            return;
        }
        let what = format!("{}: added", definition.name());
        match store.additions(live, definition).await {
            Err(error) => self.store_failed(what, &error),
            Ok(found) => self.found.extend(found.into_iter().map(|addition| {
                let addition = addition.in_a_rebuild(policy.keep_indexes);
                Check { warning: addition.is_lost(), ..Check::new(&*what, Ok(addition.sentence())) }
            })),
        }
    }
}

/// Whether the log still has the next record of every partition.
fn positions(generation: &GenerationStatus, extents: &Extents) -> Result<String, String> {
    let gone = generation.checkpoints.iter().find(|held| !extents.contains_key(&held.partition));
    let gone = gone.map(|held| format!("{} is not in the log", held.partition));
    if let Some(fault) = gone.or_else(|| unreadable_position(generation, extents)) {
        return Err(fault);
    }
    Ok(format!("{} checkpoints, all within the log", generation.checkpoints.len()))
}
