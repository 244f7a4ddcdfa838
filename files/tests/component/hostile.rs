//! Components that do what they must not: the event is poison with a reason, and the next event is projected.

use crate::guest::{component, project};

/// A component that makes no change of an event at an even offset, and runs `body` at an odd one. Its memory begins with zeros,
/// so the result at address 16 is a list without changes.
fn hostile_at_odd_offsets(items: &str, body: &str) -> String {
    format!(
        r#"(memory (export "memory") 2)
        {items}
        (func (export "project") (param $event i32) (result i32)
            (if (i64.eqz (i64.and (i64.load offset=40 (local.get $event)) (i64.const 1))) (then (return (i32.const 16))))
            {body})"#
    )
}

#[track_caller]
fn refuses_odd_offsets(items: &str, body: &str, reason: &str) {
    let component = component(&hostile_at_odd_offsets(items, body)).unwrap();
    for offset in 0..6 {
        let expected = if offset % 2 == 0 { Ok(Vec::new()) } else { Err(reason.to_owned()) };
        assert_eq!(project(&component, offset), expected, "offset {offset}");
    }
}

#[test]
fn a_loop_without_end_runs_out_of_fuel() {
    let reason = "the component ran out of fuel (1000000 units for an event)";
    refuses_odd_offsets("", "(loop $again (br $again)) (unreachable)", reason);
    // One instruction that takes long costs more than a short one.
    let fill = "(loop $again (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $again)) (unreachable)";
    refuses_odd_offsets("", fill, reason);
}

#[test]
fn memory_that_grows_without_end_is_refused() {
    let reason = "the component's memory exceeded 4 MiB";
    refuses_odd_offsets("", "(loop $again (drop (memory.grow (i32.const 1))) (br $again)) (unreachable)", reason);
    let table = "(loop $again (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $again)) (unreachable)";
    refuses_odd_offsets("(table $t 1 funcref)", table, reason);
}

#[test]
fn a_trap_is_named() {
    let deep = "(func $deep (param i64) (result i64) (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (local.get 0)))";
    let exhausted = "the component trapped: call stack exhausted";
    refuses_odd_offsets(deep, "(drop (call $deep (i64.const 0))) (unreachable)", exhausted);
    refuses_odd_offsets("", "(unreachable)", "the component trapped: unreachable, as after a panic");
    let divided = "(i32.div_s (i32.const 1) (i32.load (i32.const 0)))";
    refuses_odd_offsets("", divided, "the component trapped: integer divide by zero");
}

#[test]
fn an_error_of_the_component_is_its_text() {
    let refused = "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 80))
        (i32.store (i32.const 72) (i32.const 6)) (i32.const 64)";
    refuses_odd_offsets(r#"(data (i32.const 80) "no key")"#, refused, "the component refused the event: no key");
}

#[test]
fn a_change_of_an_unknown_table_is_refused() {
    // A list of one change, which is a `delete` with the name of the table and an empty key.
    let delete = "(i32.store (i32.const 68) (i32.const 96)) (i32.store (i32.const 72) (i32.const 1))
        (i32.store8 (i32.const 96) (i32.const 2)) (i32.store (i32.const 104) (i32.const 80))
        (i32.store (i32.const 108) (i32.const 5)) (i32.const 64)";
    let reason = "the projection declares no table `other`";
    refuses_odd_offsets(r#"(data (i32.const 80) "other")"#, delete, reason);
}

#[test]
fn a_result_that_is_no_result_is_refused() {
    let abi = |reason: &str| format!("the component does not follow the canonical ABI: {reason}");
    let list = |at: &str, length: &str| {
        format!(
            "(i32.store (i32.const 68) (i32.const {at})) (i32.store (i32.const 72) (i32.const {length})) (i32.const 64)"
        )
    };
    refuses_odd_offsets("", &list("0", "100000000"), &abi("list pointer/length out of bounds of memory"));
    refuses_odd_offsets("", "(i32.const -16)", &abi("pointer out of bounds of memory"));
    let neither = "(i32.store8 (i32.const 64) (i32.const 7)) (i32.const 64)";
    refuses_odd_offsets("", neither, &abi("invalid expected discriminant"));
    let text = format!("(i32.store8 (i32.const 64) (i32.const 1)) {}", list("80", "2"));
    let data = r#"(data (i32.const 80) "\ff\ff")"#;
    refuses_odd_offsets(data, &text, &abi("invalid utf-8 sequence of 1 bytes from index 0"));
}

#[test]
fn a_result_that_repeats_one_text_many_times_is_refused_before_it_fills_the_memory() {
    // A thousand changes of 48 bytes, each with the same 64 KiB as the name of its table.
    let many = "(local $at i32)
        (local.set $at (i32.const 1024))
        (loop $again
            (i32.store offset=8 (local.get $at) (i32.const 131072))
            (i32.store offset=12 (local.get $at) (i32.const 65536))
            (local.set $at (i32.add (local.get $at) (i32.const 48)))
            (br_if $again (i32.lt_u (local.get $at) (i32.const 49024))))
        (i32.store (i32.const 68) (i32.const 1024)) (i32.store (i32.const 72) (i32.const 1000)) (i32.const 64)";
    let items = r#"(memory (export "memory") 3)"#;
    let body = format!(r#"{items} (func (export "project") (param $event i32) (result i32) {many})"#);
    let refused = project(&component(&body).unwrap(), 1).unwrap_err();
    assert!(refused.contains("too much data is being copied between the host and the guest"), "{refused}");
}

#[test]
fn an_allocator_that_fails_makes_the_event_poison() {
    let with = |allocate: &str| {
        let functions =
            r#"(memory (export "memory") 2) (func (export "project") (param i32) (result i32) (i32.const 16))"#;
        let realloc = format!(r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {allocate})"#);
        let module = crate::guest::without_allocator(&format!("{functions} {realloc}"));
        let component = readcast_files::Component::compile(&module, crate::guest::LIMITS).unwrap();
        [1, 2].map(|offset| project(&component, offset).unwrap_err())
    };
    for reason in with("(unreachable)") {
        assert_eq!(reason, "the component trapped: unreachable, as after a panic");
    }
    for reason in with("(i32.const -8)") {
        assert!(reason.starts_with("the component does not follow the canonical ABI: "), "{reason}");
    }
}
