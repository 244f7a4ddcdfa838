//! Components for tests: the example in Rust, and modules in WebAssembly's text format.

#[path = "../../../tests/support/component.rs"]
mod example;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use readcast_core::{Change, Changes, ColumnType, Envelope, ProjectionError, TableSpec, TopicPartition};
use readcast_files::{Component, ComponentError, Limits};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Enough for small modules, and soon used up by hostile ones.
pub(crate) const LIMITS: Limits = Limits { fuel_per_event: 1_000_000, memory_bytes: 4 << 20 };

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The module of `examples/wasm/rust`, which is built once.
pub(crate) fn order_summary() -> &'static [u8] {
    static MODULE: OnceLock<Vec<u8>> = OnceLock::new();
    MODULE.get_or_init(|| std::fs::read(example::order_summary()).unwrap())
}

/// A module with the types of `wit/projection.wit`. `body` has the memory `memory` and the function `project`, which takes the
/// address of an event and returns the address of a result. Texts and lists are allocated one behind the other from `$next` on.
pub(crate) fn module(body: &str) -> Vec<u8> {
    without_allocator(&format!("{body} {ALLOCATOR}"))
}

/// A module with the types of `wit/projection.wit` and its own allocator.
pub(crate) fn without_allocator(body: &str) -> Vec<u8> {
    let wit = std::fs::read_to_string(root().join("files/wit/projection.wit")).unwrap();
    described(body, &wit)
}

const ALLOCATOR: &str = r#"
    (global $next (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
        (global.set $next (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    (func (export "cabi_post_project") (param i32) (global.set $next (i32.const 65536)))"#;

/// A module whose functions have the types of a world.
pub(crate) fn described(body: &str, wit: &str) -> Vec<u8> {
    let mut module = wat::parse_str(format!("(module {body})")).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

/// The component of such a module.
pub(crate) fn component(body: &str) -> Result<Component, ComponentError> {
    Component::compile(&module(body), LIMITS)
}

/// The tables of the small components.
pub(crate) fn tables() -> [TableSpec; 1] {
    [TableSpec::new("t").key("id", ColumnType::Text).nullable("n", ColumnType::I64)]
}

/// What the component makes of an event at this offset, or the error that makes it poison.
pub(crate) fn project(component: &Component, offset: i64) -> Result<Vec<Change>, String> {
    with_event(offset, |event, tables, changes| component.project(event, tables, changes))
}

/// As `project`, in an instance of its own.
pub(crate) fn project_alone(component: &Component, offset: i64) -> Result<Vec<Change>, String> {
    with_event(offset, |event, tables, changes| component.project_alone(event, tables, changes))
}

fn with_event(
    offset: i64,
    run: impl FnOnce(&Envelope<'_>, &[TableSpec], &mut Changes<'_>) -> Result<(), ProjectionError>,
) -> Result<Vec<Change>, String> {
    let tables = tables();
    let mut changes = Changes::new(&tables);
    let json = br#"{"event_id":"e1","type":"T","timestamp":"2024-05-20T14:30:00Z","data":{}}"#;
    let event = Envelope::from_plain_json(TopicPartition::new("topic", 0).at(offset), None, json).unwrap();
    run(&event, &tables, &mut changes).map_err(|error| error.to_string())?;
    changes.finish().map_err(|error| error.to_string())
}
