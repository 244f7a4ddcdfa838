//! Pauses a build while the live generation lags.

use crate::source::Extents;
use crate::store::Positions;

/// Pauses a build while the live generation lags.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Whether the build pauses.
    pub(crate) closed: bool,
    /// The sum of the live generation's offsets at the look before.
    live_offsets: i64,
}

impl Throttle {
    /// Closes while the live generation lags by more than `most` records and moves. A live generation that does not move has
    /// another obstacle, and the build would wait for it without end.
    pub(crate) fn look(&mut self, live: &Positions, extents: &Extents, most: u64) {
        let lag = live
            .iter()
            .filter_map(|(partition, next)| Some((extents.get(partition)?.end - next).max(0).unsigned_abs()));
        let offsets: i64 = live.values().sum();
        self.closed = lag.sum::<u64>() > most && offsets > self.live_offsets;
        self.live_offsets = offsets;
    }
}

#[cfg(test)]
mod tests {
    use readcast_core::TopicPartition;

    use super::*;
    use crate::source::Extent;

    #[test]
    fn a_build_pauses_while_the_live_generation_lags_and_moves() {
        let partition = TopicPartition::new("orders", 0);
        let extents = Extents::from([(partition.clone(), Extent { end: 100, ..Extent::default() })]);
        let live = |next_offset| Positions::from([(partition.clone(), next_offset)]);
        let mut throttle = Throttle::default();
        let mut look = |live: Positions| {
            throttle.look(&live, &extents, 50);
            throttle.closed
        };
        assert!(look(live(10)), "it lags by 90, and has moved");
        assert!(!look(live(10)), "it does not move: the build is not the reason");
        assert!(look(live(40)));
        assert!(!look(live(60)), "40 behind is close enough");
        assert!(!look(Positions::new()), "there is none");
    }
}
