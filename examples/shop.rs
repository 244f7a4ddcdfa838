//! The shop as a service: readcast over projections that are code. The tests and the benchmarks run it.
//!
//! ```sh
//! cargo run --release --bin shop -- run --source file:events --store sqlite:shop.db
//! ```

use std::process::ExitCode;

use readcast::{App, Sample};
use readcast_projections::sample::{Orders, TOPIC};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let sample = Sample { topic: TOPIC, events: |seed| Box::new(Orders::new(seed)) };
    App::new().registry(readcast_projections::registry()).sample(sample).run()
}
