//! The program of this deployment: readcast over the projections of the example shop.

use std::process::ExitCode;

use readcast::{App, Sample};
use readcast_projections::sample::{Orders, TOPIC};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let sample = Sample { topic: TOPIC, events: |seed| Box::new(Orders::new(seed)) };
    App::new().registry(readcast_projections::registry()).sample(sample).run()
}
