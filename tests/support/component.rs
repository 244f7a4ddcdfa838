//! The example of a WebAssembly component. The tests of the package `files` use this file too.

use std::path::{Path, PathBuf};

/// The path of the module that `examples/wasm/rust` makes: the order summary of the example shop. `scripts/component` builds it.
pub(crate) fn order_summary() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("each package is in a folder of the repository");
    root.join("tests/components/order_summary.wasm")
}
