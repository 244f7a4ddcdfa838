//! The program readcast: it runs projections that are written as files. `demo` runs those of the example shop, which are built
//! in.

use std::process::ExitCode;

use readcast::{App, FileProjection, Registry, Sample};
use readcast_projections::sample::{Orders, TOPIC};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let sample = Sample { topic: TOPIC, events: |seed| Box::new(Orders::new(seed)) };
    App::new().sample(sample).demo(shop).run()
}

fn shop() -> Registry {
    readcast_projections::FILES.into_iter().fold(Registry::new(), |registry, (path, text)| {
        match FileProjection::load(path, text) {
            Ok(projection) => registry.register(projection),
            Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<String>()),
        }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_built_in_projections_are_valid() {
        assert_eq!(super::shop().validate(), Ok(()));
    }
}
