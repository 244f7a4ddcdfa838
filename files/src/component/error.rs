//! Why bytes are not a component that can project.

/// Why bytes are not a component that can project.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    /// The file is neither a component nor a module.
    #[error("the file is not a WebAssembly component")]
    NotWasm,
    /// The file has more than this number of bytes.
    #[error("the file has {found} bytes, more than the {most} of the largest component")]
    TooLarge {
        /// The file's size in bytes.
        found: usize,
        /// The largest size in bytes.
        most: usize,
    },
    /// The file is a module, from which no component can be made.
    #[error(
        "the file is a WebAssembly module and not a component, and none can be made of it: {0}. Build it for wasm32-unknown-unknown \
         with the bindings of wit-bindgen, or make a component with `wasm-tools component new`"
    )]
    Module(String),
    /// The file is not valid, or uses a proposal that is not supported.
    #[error("the component is invalid: {0}")]
    Invalid(String),
    /// The component needs something from outside.
    #[error("the component imports {0}: a projection may not do I/O")]
    Imports(String),
    /// The component lacks the function that projects.
    #[error("the component does not export `project`")]
    NoProject,
    /// The component's function has other parameters or another result.
    #[error("the component's `project` does not have the type of readcast:projection@1.0.0: {0}")]
    Type(String),
    /// The component failed before it had an event.
    #[error("the component does not start: {0}")]
    Start(String),
}
