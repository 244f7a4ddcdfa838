//! The example of a WebAssembly component, built once. The tests of the package `files` use this file too.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of the module that `examples/wasm/rust` makes: the order summary of the example shop.
///
/// # Panics
/// If it can't be built. The message says what to install.
pub(crate) fn order_summary() -> &'static Path {
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    MODULE.get_or_init(|| {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("each package is in a folder of the repository");
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("wasm");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--locked", "--target", "wasm32-unknown-unknown", "--target-dir"])
            .arg(&target)
            .current_dir(root.join("examples/wasm/rust"))
            // Flags for the tests are not meant for WebAssembly.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .expect("cargo runs the tests");
        let log = String::from_utf8_lossy(&built.stderr);
        assert!(
            !log.contains("can't find crate for `core`"),
            "Install the target: rustup target add wasm32-unknown-unknown"
        );
        assert!(built.status.success(), "{log}");
        target.join("wasm32-unknown-unknown/release/order_summary.wasm")
    })
}
