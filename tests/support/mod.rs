//! The test harness: real servers, a client for each, a proxy that misbehaves, and the program under test.
//!
//! It knows nothing of projections. A test that needs a server gets one or fails: nothing is ever skipped in silence.
#![allow(dead_code, reason = "a harness is used one test at a time")]
#![allow(clippy::disallowed_methods, reason = "servers are named in the environment")]

pub(crate) mod component;
pub(crate) mod eventually;
pub(crate) mod guard;
pub(crate) mod kafka;
pub(crate) mod line;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod servers;
pub(crate) mod signal;

use std::path::Path;

/// The root of the repository. The tests are targets of the package `service`, one folder below it.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package has a folder of its own")
}
