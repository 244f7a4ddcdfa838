//! Components in the sandbox: one in Rust that projects like code, and small hostile ones.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod guest;
mod hostile;
mod loading;
mod reuse;
mod shop;
