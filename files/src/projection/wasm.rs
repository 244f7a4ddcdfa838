//! A WebAssembly component in place of rules: `wasm = "orders.wasm"`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use readcast_core::{Changes, Envelope, ProjectionError, TableSpec};
use sha2::{Digest, Sha256};
use toml::de::DeValue;

use super::tables::required;
use crate::component::{Component, ComponentError, Limits};
use crate::document::{Item, Loader, Section};

/// The keys of the section, in its long form.
const KEYS: [&str; 3] = ["file", "fuel_per_event", "memory_mib"];

/// The component of a projection.
#[derive(Clone)]
pub(super) struct Wasm {
    /// The name in the file of the projection.
    pub(super) name: String,
    pub(super) bytes: Arc<[u8]>,
    digest: [u8; 32],
    component: Component,
    /// Whether each event is projected by an instance of its own.
    apart: bool,
}

impl Wasm {
    /// What the component adds to the declaration of the projection.
    pub(super) fn canonical(&self) -> String {
        self.digest.iter().fold("wasm sha256 ".to_owned(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// The same component, which can't keep state between events.
    pub(super) fn apart(&self) -> Self {
        Self { apart: true, ..self.clone() }
    }

    pub(super) fn project(
        &self,
        event: &Envelope<'_>,
        tables: &[TableSpec],
        changes: &mut Changes<'_>,
    ) -> Result<(), ProjectionError> {
        match self.apart {
            true => self.component.project_alone(event, tables, changes),
            false => self.component.project(event, tables, changes),
        }
    }
}

impl fmt::Debug for Wasm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wasm").field("name", &self.name).field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// The component that `item` names, of which `read` returns the bytes.
pub(super) fn load(
    loader: &mut Loader,
    item: &Item<'_>,
    read: &dyn Fn(&str) -> std::io::Result<Vec<u8>>,
) -> Option<Wasm> {
    let (item, limits) = match item.get_ref() {
        DeValue::Table(_) => {
            let section = loader.section("wasm", item)?;
            loader.only(&section, &KEYS);
            (required(loader, &section, "file")?, limits(loader, &section))
        }
        _ => (item, Limits::default()),
    };
    let name = loader.text("wasm", item)?;
    let bytes =
        read(&name).map_err(|error| loader.error(item.span(), format!("`{name}` can't be read: {error}"))).ok()?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    match compiled(digest, &bytes, limits) {
        Ok(component) => Some(Wasm { name, bytes: bytes.into(), digest, component, apart: false }),
        Err(error) => {
            loader.error(item.span(), format!("`{name}`: {error}"));
            None
        }
    }
}

fn limits(loader: &mut Loader, section: &Section<'_>) -> Limits {
    let default = Limits::default();
    let mut number = |key: &str| -> Option<u64> {
        let item = section.get(key)?;
        let number = item.get_ref().as_integer().and_then(|number| number.as_str().replace('_', "").parse().ok());
        if number.is_none_or(|number| number == 0) {
            loader.error(item.span(), format!("`{key}` is a whole number from 1"));
        }
        number
    };
    let memory = number("memory_mib").map(|mib| usize::try_from(mib.saturating_mul(1 << 20)).unwrap_or(usize::MAX));
    Limits {
        fuel_per_event: number("fuel_per_event").unwrap_or(default.fuel_per_event),
        memory_bytes: memory.unwrap_or(default.memory_bytes),
    }
}

/// The compiled component. Each is compiled once in a process, however often its file is loaded: for each command, each generation
/// that it has built, and each change of a file beside it.
fn compiled(digest: [u8; 32], bytes: &[u8], limits: Limits) -> Result<Component, ComponentError> {
    type Key = ([u8; 32], u64, usize);
    static COMPILED: Mutex<BTreeMap<Key, Component>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (digest, limits.fuel_per_event, limits.memory_bytes);
    if let Some(component) = compiled.get(&key) {
        return Ok(component.clone());
    }
    let component = Component::compile(bytes, limits)?;
    compiled.insert(key, component.clone());
    Ok(component)
}
