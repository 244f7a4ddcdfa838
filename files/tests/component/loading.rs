//! What is refused when a component is compiled, and what makes a component deterministic.

use readcast_files::{Component, ComponentError, Limits};

use crate::guest::{LIMITS, component, described, module, order_summary, project};

const EMPTY: &str = r#"(memory (export "memory") 2) (func (export "project") (param i32) (result i32) (i32.const 16))"#;

fn refused(bytes: &[u8]) -> String {
    Component::compile(bytes, LIMITS).unwrap_err().to_string()
}

#[test]
fn a_module_with_the_types_of_its_functions_is_made_a_component() {
    assert!(Component::compile(&module(EMPTY), LIMITS).is_ok());
    assert!(Component::compile(order_summary(), Limits::default()).is_ok());
}

#[test]
fn a_file_that_is_no_component_is_refused() {
    assert_eq!(refused(b"(component)"), "the file is not a WebAssembly component");
    assert_eq!(refused(b""), "the file is not a WebAssembly component");
    let cut = &order_summary()[..1000];
    assert!(matches!(Component::compile(cut, LIMITS), Err(ComponentError::Module(_))));
    let broken = [b"\0asm\x0d\0\x01\0".as_slice(), &[1; 20]].concat();
    assert!(refused(&broken).starts_with("the component is invalid: "), "{}", refused(&broken));
    let large = vec![0; (64 << 20) + 1];
    assert_eq!(refused(&large), "the file has 67108865 bytes, more than the 67108864 of the largest component");
}

#[test]
fn a_module_without_types_is_refused_with_what_to_do() {
    let plain = wat::parse_str(format!("(module {EMPTY})")).unwrap();
    let reason = refused(&plain);
    assert!(reason.contains("the file is a WebAssembly module and not a component"), "{reason}");
    assert!(reason.ends_with("`wasm-tools component new`"), "{reason}");
}

#[test]
fn a_component_that_imports_something_is_refused() {
    let imports = |wat: &str| refused(&wat::parse_str(wat).unwrap());
    let clock = r#"(component (import "wasi:clocks/wall-clock@0.2.3" (instance (export "now" (func)))))"#;
    assert_eq!(imports(clock), "the component imports wasi:clocks/wall-clock@0.2.3: a projection may not do I/O");
    assert_eq!(
        imports(r#"(component (import "log" (func)))"#),
        "the component imports log: a projection may not do I/O"
    );
    // A module for WASI has its imports in an older form, of which no component can be made.
    let old = format!(r#"(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32))) {EMPTY}"#);
    let reason = refused(&module(&old));
    assert!(reason.contains("wasi_snapshot_preview1"), "{reason}");
}

#[test]
fn a_component_without_the_function_is_refused() {
    let empty = wat::parse_str("(component)").unwrap();
    assert_eq!(refused(&empty), "the component does not export `project`");
    let other = "package test:other; world other { export project: func(event: string) -> string; }";
    let body = r#"(memory (export "memory") 2)
        (func (export "project") (param i32 i32) (result i32) (unreachable))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (unreachable))"#;
    let reason = refused(&described(body, other));
    let expected = "the component's `project` does not have the type of readcast:projection@1.0.0: ";
    assert!(reason.starts_with(expected), "{reason}");
}

#[test]
fn a_component_that_does_not_start_is_refused() {
    let start =
        |body: &str| component(&format!("{EMPTY} (func $start {body}) (start $start)")).unwrap_err().to_string();
    assert_eq!(
        start("(unreachable)"),
        "the component does not start: the component trapped: unreachable, as after a panic"
    );
    let out_of_fuel = "the component does not start: the component ran out of fuel (1000000 units for an event)";
    assert_eq!(start("(loop $again (br $again))"), out_of_fuel);
    let large = EMPTY.replace("2) (func", "100) (func");
    let exceeded = "the component does not start: the component's memory exceeded 4 MiB";
    assert_eq!(component(&large).unwrap_err().to_string(), exceeded);
}

#[test]
fn a_component_may_not_have_threads() {
    let shared = EMPTY.replace("2) (func", "2 2 shared) (func");
    let reason = component(&shared).unwrap_err().to_string();
    assert!(reason.contains("threads"), "{reason}");
}

/// A component that traps unless `holds`, an i32, is 1.
fn traps_unless(holds: &str) -> Result<(), String> {
    let body = format!(
        r#"(memory (export "memory") 2)
        (func (export "project") (param i32) (result i32)
            (if (i32.ne {holds} (i32.const 1)) (then (unreachable)))
            (i32.const 16))"#
    );
    project(&component(&body).unwrap(), 1).map(drop)
}

#[test]
fn what_webassembly_leaves_to_the_processor_is_decided() {
    assert!(traps_unless("(i32.const 0)").is_err());
    // Processors differ in the sign of the NaN that 0/0 is.
    let zero = "(f64.load (i32.const 0))";
    let nan = format!("(i64.reinterpret_f64 (f64.div {zero} {zero}))");
    assert_eq!(traps_unless(&format!("(i64.eq {nan} (i64.const 0x7ff8000000000000))")), Ok(()));
    // And in the integer that relaxed SIMD makes of a number out of range.
    let lane = "(i32x4.extract_lane 0 (i32x4.relaxed_trunc_f32x4_s (f32x4.splat (f32.load (i32.const 128)))))";
    let data = format!(
        "(i32.eq (block (result i32) (f32.store (i32.const 128) (f32.const 1e20)) {lane}) (i32.const 2147483647))"
    );
    assert_eq!(traps_unless(&data), Ok(()));
}
