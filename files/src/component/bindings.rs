//! The types of `wit/projection.wit`, and how they are passed.

#![allow(missing_docs, unreachable_pub)]

wasmtime::component::bindgen!({
    path: "wit",
    // The event is borrowed: its data is copied once, into the component's memory.
    ownership: Borrowing { duplicate_if_necessary: true },
});
