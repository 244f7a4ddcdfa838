//! The service: the library's command line over the projections of this deployment.

use std::process::ExitCode;

use readcast::cli::{App, Sample};
use readcast_projections::sample::{Orders, TOPIC};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let sample = Sample { topic: TOPIC, events: |seed| Box::new(Orders::new(seed)) };
    readcast::cli::main(App { registry: readcast_projections::registry(), sample })
}
