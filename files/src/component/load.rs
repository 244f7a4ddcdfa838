//! From bytes to a compiled component.

use std::borrow::Cow;

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;
use wasmtime::{Config, Engine, Module};
use wit_component::ComponentEncoder;

use super::instance::Template;
use super::{ComponentError, Limits};

/// A component in JavaScript, which brings its interpreter, has 12 MiB.
const MAX_BYTES: usize = 64 << 20;
/// What a component begins with: the magic number, the version and the layer.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// What a module begins with.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Compiles a component or a module for instances with these limits.
pub(super) fn template(bytes: &[u8], limits: Limits) -> Result<Template, ComponentError> {
    if bytes.len() > MAX_BYTES {
        return Err(ComponentError::TooLarge { found: bytes.len(), most: MAX_BYTES });
    }
    let invalid = |error: wasmtime::Error| ComponentError::Invalid(root(&error));
    let engine = Engine::new(&deterministic()).map_err(invalid)?;
    let component = Component::new(&engine, as_component(&engine, bytes)?).map_err(invalid)?;
    refuse_imports(&engine, &component)?;
    match Template::new(&engine, &component, limits) {
        // What the encoder makes of a module without types has no functions.
        Err(ComponentError::NoProject) if bytes.starts_with(MODULE) => {
            Err(ComponentError::Module("it does not hold the type of `project`".into()))
        }
        template => template,
    }
}

/// The settings with which one event has the same result everywhere.
fn deterministic() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        // WebAssembly leaves two things to the processor: the bits of a NaN, and the results of relaxed SIMD.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .concurrency_support(false);
    config
}

/// A module that a compiler made with wit-bindgen holds the types of its functions, from which the component is made here: its
/// author needs no other tool than the compiler.
fn as_component<'b>(engine: &Engine, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, ComponentError> {
    if bytes.starts_with(COMPONENT) {
        return Ok(bytes.into());
    }
    if !bytes.starts_with(MODULE) {
        return Err(ComponentError::NotWasm);
    }
    // The encoder expects a valid module.
    Module::validate(engine, bytes).map_err(|error| ComponentError::Module(root(&error)))?;
    let encoder = ComponentEncoder::default().validate(true).module(bytes);
    let encoded = encoder.and_then(|mut encoder| encoder.encode());
    encoded.map(Cow::Owned).map_err(|error| ComponentError::Module(error.root_cause().to_string()))
}

/// Types are the only imports of a component that does no I/O.
fn refuse_imports(engine: &Engine, component: &Component) -> Result<(), ComponentError> {
    let only_types = |item: &ComponentItem| match item {
        ComponentItem::Type(_) => true,
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
        }
        _ => false,
    };
    let component_type = component.component_type();
    let mut imports = component_type.imports(engine);
    match imports.find(|(_, item)| !only_types(&item.ty)) {
        Some((name, _)) => Err(ComponentError::Imports(name.to_owned())),
        None => Ok(()),
    }
}

/// What went wrong, without where wasmtime was when it did.
pub(super) fn root(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}
