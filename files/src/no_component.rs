//! In place of `component.rs` in programs that are built without the cargo feature `wasm`.

use readcast_core::{Changes, Envelope, ProjectionError, TableSpec};

/// There is none.
#[derive(Clone)]
pub(crate) struct Component;

#[derive(Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) fuel_per_event: u64,
    pub(crate) memory_bytes: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("this program was built without the cargo feature `wasm`")]
pub(crate) struct ComponentError;

impl Component {
    pub(crate) fn compile(_: &[u8], _: Limits) -> Result<Self, ComponentError> {
        Err(ComponentError)
    }

    pub(crate) fn project(
        &self,
        _: &Envelope<'_>,
        _: &[TableSpec],
        _: &mut Changes<'_>,
    ) -> Result<(), ProjectionError> {
        Err(ComponentError.into())
    }

    pub(crate) fn project_alone(
        &self,
        _: &Envelope<'_>,
        _: &[TableSpec],
        _: &mut Changes<'_>,
    ) -> Result<(), ProjectionError> {
        Err(ComponentError.into())
    }
}
