//! The bank as a service: readcast over projections whose tables refer to each other.
//!
//! ```sh
//! cargo run --release --bin bank -- run --source file:events --store sqlite:bank.db
//! ```

use std::process::ExitCode;

use readcast::App;

fn main() -> ExitCode {
    App::new().name("bank").registry(readcast_projections::bank::registry()).run()
}
