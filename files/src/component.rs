//! Projections whose function is a WebAssembly component, which runs in a sandbox.
//!
//! A component's changes are a function of the event: it imports nothing, and the rest of WebAssembly is deterministic with the
//! settings in [`load`]. What an event may take is counted in fuel and bytes and not in time, so a slow machine decides like a
//! fast one.

mod bindings;
mod changes;
mod error;
mod event;
mod instance;
mod load;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use readcast_core::{Changes, Envelope, ProjectionError, TableSpec};

use self::bindings::{Change, Event};
pub use self::error::ComponentError;
use self::event::Texts;
use self::instance::{Instance, Template};

/// What a component may take for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of fuel for an event, about one for each instruction of WebAssembly and for each byte that one instruction copies.
    /// A new instance has as much again for its start.
    pub fuel_per_event: u64,
    /// The bytes of all memories and tables of an instance, and separately of the changes of one event.
    pub memory_bytes: usize,
}

/// An event of a shop takes a component in Rust 30 thousand units of fuel at most, and one in JavaScript takes one to three million
/// for an event and begins with 10 MiB. An event that never ends is stopped after about a second.
impl Default for Limits {
    fn default() -> Self {
        Self { fuel_per_event: 500_000_000, memory_bytes: 64 << 20 }
    }
}

/// A compiled component. Clones share it, and the threads that project with it have an instance each.
#[derive(Clone)]
pub struct Component(Arc<Shared>);

struct Shared {
    template: Template,
    /// Instances that wait for an event.
    idle: Mutex<Vec<Instance>>,
}

impl Component {
    /// Compiles a component, or a module that a compiler made with the bindings of wit-bindgen, and starts an instance.
    ///
    /// # Errors
    /// When `bytes` are neither, or the component imports something, does not export `project` with the type of
    /// `wit/projection.wit`, or does not start.
    pub fn compile(bytes: &[u8], limits: Limits) -> Result<Self, ComponentError> {
        let template = load::template(bytes, limits)?;
        let first = template.start().map_err(ComponentError::Start)?;
        Ok(Self(Arc::new(Shared { template, idle: Mutex::new(vec![first]) })))
    }

    /// Records in `changes` what `event` changes in `tables`, which are the projection's.
    ///
    /// # Errors
    /// When the component refuses the event, traps or exceeds a limit, or makes a change of values that do not fit their columns.
    /// Mistakes such as an unknown table are kept in `changes`.
    pub fn project(
        &self,
        event: &Envelope<'_>,
        tables: &[TableSpec],
        changes: &mut Changes<'_>,
    ) -> Result<(), ProjectionError> {
        let texts = Texts::of(event)?;
        let made = self.call(texts.with(event, &texts.headers(event)))?;
        Ok(changes::record(made, tables, changes)?)
    }

    /// As [`project`](Self::project), in an instance that no event came to before. A component whose changes differ from those of
    /// `project` keeps state between events.
    ///
    /// # Errors
    /// As for `project`.
    pub fn project_alone(
        &self,
        event: &Envelope<'_>,
        tables: &[TableSpec],
        changes: &mut Changes<'_>,
    ) -> Result<(), ProjectionError> {
        let texts = Texts::of(event)?;
        let (made, _) = self.call_fresh(texts.with(event, &texts.headers(event)))?;
        Ok(changes::record(made?, tables, changes)?)
    }

    fn call(&self, event: Event<'_>) -> Result<Vec<Change>, String> {
        // A statement of its own: the lock must not be held while the component runs.
        let idle = self.idle().pop();
        if let Some(mut instance) = idle {
            // A failure may come from what the instance did before: from memory that earlier events used up, for example. Other
            // instances had other events, so this result must not count. The instance is dropped.
            if let Ok(answer) = instance.project(event.clone()) {
                self.keep(instance);
                return answer.map_err(refused);
            }
        }
        let (made, instance) = self.call_fresh(event)?;
        self.keep(instance);
        made
    }

    /// The answer of a new instance. It has twice the fuel of an event. An event that a reused instance can project is therefore
    /// projected by a new one too, as long as its start takes no more than an event: whether it becomes a dead letter does not
    /// depend on the instances that happen to be idle.
    fn call_fresh(&self, event: Event<'_>) -> Result<(Result<Vec<Change>, String>, Instance), String> {
        let mut instance = self.0.template.start()?;
        let answer = instance.project_first(event)?;
        Ok((answer.map_err(refused), instance))
    }

    fn keep(&self, instance: Instance) {
        if instance.is_reusable() {
            self.idle().push(instance);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Instance>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component").finish_non_exhaustive()
    }
}

fn refused(reason: String) -> String {
    format!("the component refused the event: {reason}")
}
