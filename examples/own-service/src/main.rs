//! The read models of a library.

mod loans;
mod members;
mod message;

use std::process::ExitCode;

fn main() -> ExitCode {
    readcast::App::new()
        .name(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .projection(loans::Loans)
        .projection(members::Members)
        .with_decoder("message", message::read)
        .run()
}
