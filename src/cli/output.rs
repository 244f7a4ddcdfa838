//! The only writer to standard output and, logs aside, to standard error.
//!
//! A reader that closes the pipe, as in `readcast status | head -1`, has read what it wanted. The rest of the output is
//! discarded, and the command ends with the exit code that it has anyway: 0 if all is well. It is not the 141 by which a
//! shell shows SIGPIPE, so `set -o pipefail` fails for a failed `check` or `verify`, and not for `head`.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::CommandError;

/// Whether the reader of standard output has closed it.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);
/// The name of the program.
static PROGRAM: OnceLock<&str> = OnceLock::new();

/// Writes a line, or several, to standard output.
pub(super) fn line(text: impl Display) -> Result<(), CommandError> {
    if is_closed() {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            IS_CLOSED.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => Err(CommandError::Failed(format!("standard output can't be written: {error}"))),
    }
}

/// Whether standard output is closed: a command with much more to write may end.
pub(super) fn is_closed() -> bool {
    IS_CLOSED.load(Ordering::Relaxed)
}

/// Sets the name of the program that messages begin with.
pub(super) fn set_program(name: &'static str) {
    let _ = PROGRAM.set(name);
}

/// Writes a message to standard error. If standard error is closed, the message is lost.
pub(super) fn message(text: impl Display) {
    let program = PROGRAM.get().copied().unwrap_or("readcast");
    let _ = writeln!(std::io::stderr(), "{program}: {text}");
}
