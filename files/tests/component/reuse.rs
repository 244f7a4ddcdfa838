//! Instances are reused, and no event shows it.

use readcast_files::{Component, Limits};

use crate::guest::{LIMITS, component, module, project, project_alone};

/// A component that runs `body` and then makes no change. The global `$events` counts the events of the instance, from 1.
fn counting(body: &str) -> String {
    format!(
        r#"(memory (export "memory") 2)
        (global $events (mut i32) (i32.const 0))
        (func (export "project") (param $event i32) (result i32)
            (global.set $events (i32.add (global.get $events) (i32.const 1)))
            {body}
            (i32.const 16))"#
    )
}

/// Refuses the event with the number of events of the instance as a digit.
const TELLS_EVENTS: &str = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const 80))
    (i32.store (i32.const 24) (i32.const 1)) (i32.store8 (i32.const 80) (i32.add (global.get $events) (i32.const 48)))";

#[test]
fn an_instance_is_reused_and_an_event_can_be_projected_alone() {
    let component = component(&counting(TELLS_EVENTS)).unwrap();
    let refused = |events: u8| Err(format!("the component refused the event: {events}"));
    assert_eq!(project(&component, 1), refused(1));
    assert_eq!(project(&component, 2), refused(2));
    assert_eq!(project_alone(&component, 3), refused(1));
    assert_eq!(project(&component, 3), refused(3), "an instance of its own did not come between");
}

#[test]
fn a_failure_counts_only_in_a_new_instance() {
    let trap_at_third = "(if (i32.ge_u (global.get $events) (i32.const 3)) (then (unreachable)))";
    let component = component(&counting(trap_at_third)).unwrap();
    for offset in 0..20 {
        assert_eq!(project(&component, offset), Ok(Vec::new()), "offset {offset}");
    }
}

/// Spends about this number of units of fuel.
fn spend(units: u32) -> String {
    format!(
        "(global.set $left (i32.const {}))
        (loop $again (global.set $left (i32.sub (global.get $left) (i32.const 1))) (br_if $again (global.get $left)))",
        units / 6
    )
}

#[test]
fn the_start_of_an_instance_does_not_count_as_the_event() {
    let both = |units: u32| {
        let start = format!("(global $left (mut i32) (i32.const 0)) (func $start {}) (start $start)", spend(units));
        component(&(counting(&spend(units)) + &start)).map(|component| {
            assert_eq!(project_alone(&component, 1), project(&component, 1));
            project(&component, 2)
        })
    };
    assert_eq!(both(900_000), Ok(Ok(Vec::new())));
    let out_of_fuel = "the component ran out of fuel (1000000 units for an event)";
    assert_eq!(both(1_100_000), Ok(Err(out_of_fuel.to_owned())));
}

#[test]
fn each_event_of_an_instance_has_its_own_fuel() {
    let left = "(global $left (mut i32) (i32.const 0))";
    let spending = component(&(counting(&format!("{} {TELLS_EVENTS}", spend(900_000))) + left)).unwrap();
    for events in 1..6 {
        let refused = Err(format!("the component refused the event: {events}"));
        assert_eq!(project(&spending, events), refused, "the instance is the first one");
    }
}

#[test]
fn an_instance_whose_memory_grew_is_replaced() {
    // Each event takes half a MiB of the 4 and gives none back.
    let leak = "(if (i32.eq (memory.grow (i32.const 8)) (i32.const -1)) (then (unreachable)))";
    let leaking = component(&counting(&format!("{leak} {TELLS_EVENTS}"))).unwrap();
    let events: Vec<_> = (0..10).map(|offset| project(&leaking, offset).unwrap_err()).collect();
    let expected = [1, 2, 3, 4, 1, 2, 3, 4, 1, 2].map(|n| format!("the component refused the event: {n}"));
    assert_eq!(events, expected);
}

#[test]
fn several_threads_project_at_once() {
    let component = component(&counting("")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let component = component.clone();
            scope.spawn(move || {
                for offset in 0..500 {
                    assert_eq!(project(&component, offset), Ok(Vec::new()), "thread {thread}");
                }
            });
        }
    });
}

#[test]
fn a_failure_in_one_thread_leaves_the_others_alone() {
    let traps = "(if (i64.eq (i64.load offset=40 (local.get $event)) (i64.const 7)) (then (unreachable)))";
    let component = Component::compile(&module(&counting(traps)), Limits { fuel_per_event: 10_000, ..LIMITS }).unwrap();
    std::thread::scope(|scope| {
        for first in 0..2 {
            let component = component.clone();
            scope.spawn(move || {
                for offset in (0..200).map(|place| (place + first) % 10) {
                    assert_eq!(project(&component, offset).is_err(), offset == 7, "offset {offset}");
                }
            });
        }
    });
}
