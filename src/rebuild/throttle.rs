//! When a rebuild gives way.

use crate::source::Extents;
use crate::store::Positions;

/// Whether a rebuild gives way to the live generation.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    pub(crate) closed: bool,
    /// How far the live generation was when we last looked, over all partitions.
    live_stood: i64,
}

impl Throttle {
    /// Closed while the live generation lags by more than `most` records and moves: one that stands still is held up by
    /// something else, and would hold up the rebuild for ever.
    pub(crate) fn look(&mut self, live: &Positions, extents: &Extents, most: u64) {
        let lag = live
            .iter()
            .filter_map(|(partition, next)| Some((extents.get(partition)?.end - next).max(0).unsigned_abs()));
        let stands: i64 = live.values().sum();
        self.closed = lag.sum::<u64>() > most && stands > self.live_stood;
        self.live_stood = stands;
    }
}

#[cfg(test)]
mod tests {
    use readcast_core::TopicPartition;

    use super::*;
    use crate::source::Extent;

    #[test]
    fn a_rebuild_gives_way_to_a_live_generation_that_lags_and_moves() {
        let partition = TopicPartition::new("orders", 0);
        let extents = Extents::from([(partition.clone(), Extent { end: 100, ..Extent::default() })]);
        let live = |next_offset| Positions::from([(partition.clone(), next_offset)]);
        let mut throttle = Throttle::default();
        let mut look = |live: Positions| {
            throttle.look(&live, &extents, 50);
            throttle.closed
        };
        assert!(look(live(10)), "it lags by 90, and has moved");
        assert!(!look(live(10)), "it stands still: somebody else is to blame");
        assert!(look(live(40)));
        assert!(!look(live(60)), "40 behind is close enough");
        assert!(!look(Positions::new()), "there is none");
    }
}
