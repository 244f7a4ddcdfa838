//! Instances of a component and their limits.

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, ResourceLimiter, Store, Trap};

use super::bindings::{Change, Event, Projection, ProjectionPre};
use super::load::root;
use super::{ComponentError, Limits};

/// The most events of one instance, so that memory which a component loses at each event does not pile up.
const MAX_EVENTS: u32 = 10_000;
/// The most bytes that an element of a table takes.
const TABLE_ELEMENT_BYTES: usize = 16;

/// What all instances of a component are made from.
pub(super) struct Template {
    engine: Engine,
    component: ProjectionPre<Memory>,
    limits: Limits,
}

/// A component with its memory.
pub(super) struct Instance {
    store: Store<Memory>,
    component: Projection,
    limits: Limits,
    events: u32,
}

/// The bytes that an instance has.
struct Memory {
    used: usize,
    at_start: usize,
    most: usize,
}

/// A memory or a table would exceed the limit.
#[derive(Debug, thiserror::Error)]
#[error("the component's memory exceeded {} MiB", .0 >> 20)]
struct MemoryExceeded(usize);

impl Template {
    pub(super) fn new(engine: &Engine, component: &Component, limits: Limits) -> Result<Self, ComponentError> {
        if component.get_export_index(None, "project").is_none() {
            return Err(ComponentError::NoProject);
        }
        let linked = Linker::new(engine).instantiate_pre(component).and_then(ProjectionPre::new);
        let component = linked.map_err(|error| ComponentError::Type(root(&error)))?;
        Ok(Self { engine: engine.clone(), component, limits })
    }

    /// A new instance, with the fuel of two events of which its start may have taken a part.
    pub(super) fn start(&self) -> Result<Instance, String> {
        let limits = self.limits;
        let mut store = Store::new(&self.engine, Memory { used: 0, at_start: 0, most: limits.memory_bytes });
        store.limiter(|memory| memory);
        store.set_hostcall_fuel(limits.memory_bytes);
        let fuel = limits.fuel_per_event.saturating_mul(2);
        store.set_fuel(fuel).expect("the engine counts fuel");
        let started = self.component.instantiate(&mut store);
        let component = started.map_err(|error| failure(&error, limits))?;
        store.data_mut().at_start = store.data().used;
        Ok(Instance { store, component, limits, events: 0 })
    }
}

impl Instance {
    /// What the component answers to its first event, with the fuel that its start has left.
    ///
    /// # Errors
    /// When the component traps or exceeds a limit. The instance must not be used again.
    pub(super) fn project_first(&mut self, event: Event<'_>) -> Result<Result<Vec<Change>, String>, String> {
        self.events += 1;
        let answer = self.component.call_project(&mut self.store, event);
        answer.map_err(|error| failure(&error, self.limits))
    }

    /// What the component answers to an event, with the fuel of one.
    ///
    /// # Errors
    /// As for [`project_first`](Self::project_first).
    pub(super) fn project(&mut self, event: Event<'_>) -> Result<Result<Vec<Change>, String>, String> {
        self.store.set_fuel(self.limits.fuel_per_event).expect("the engine counts fuel");
        self.project_first(event)
    }

    /// Whether another event may come to the instance: memory of WebAssembly grows and never shrinks.
    pub(super) fn is_reusable(&self) -> bool {
        let Memory { used, at_start, most } = self.store.data();
        self.events < MAX_EVENTS && used - at_start <= (most - at_start) / 2
    }
}

impl Memory {
    /// An instance that is refused memory traps. It would otherwise decide by what earlier events have left of it.
    fn grow(&mut self, bytes: usize) -> wasmtime::Result<bool> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.most { Err(MemoryExceeded(self.most).into()) } else { Ok(true) }
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // More than the component itself declared as the most is always refused.
        if maximum.is_some_and(|maximum| desired > maximum) { Ok(false) } else { self.grow(desired - current) }
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = (desired - current).saturating_mul(TABLE_ELEMENT_BYTES);
        if maximum.is_some_and(|maximum| desired > maximum) { Ok(false) } else { self.grow(bytes) }
    }
}

/// Why an instance failed.
fn failure(error: &wasmtime::Error, limits: Limits) -> String {
    if let Some(exceeded) = error.downcast_ref::<MemoryExceeded>() {
        return exceeded.to_string();
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            format!("the component ran out of fuel ({} units for an event)", limits.fuel_per_event)
        }
        Some(Trap::UnreachableCodeReached) => "the component trapped: unreachable, as after a panic".to_owned(),
        Some(trap) => format!("the component trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")),
        None => format!("the component does not follow the canonical ABI: {}", root(error)),
    }
}
