//! The search for the record whose rows the database refuses.

/// Halves the records that are tried together until the refused one is alone: about log2(n) transactions for n records.
/// Each of them commits records or halves the records that are left to search.
#[derive(Debug, Default)]
pub(super) struct Bisection {
    /// The refused record is among this number of records, counted from the next one to apply.
    among: Option<u64>,
}

impl Bisection {
    /// The maximum number of records to apply next.
    pub(super) fn most(&self) -> usize {
        self.among.map_or(usize::MAX, |among| usize::try_from(among.div_ceil(2)).unwrap_or(usize::MAX))
    }

    /// Records that the database refused the next `applied` records together. Returns whether that was a single record.
    pub(super) fn refused(&mut self, applied: u64) -> bool {
        self.among = (applied > 1).then_some(applied);
        applied == 1
    }

    /// Records that the next `applied` records are committed.
    pub(super) fn passed(&mut self, applied: u64) {
        self.among = self.among.map(|among| among.saturating_sub(applied)).filter(|among| *among > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many transactions are tried until `bad` of `records` stands alone and the others are applied.
    fn tries(records: u64, bad: u64) -> u64 {
        let (mut bisection, mut next, mut tries, mut found) = (Bisection::default(), 0, 0, false);
        while next < records {
            let most = bisection.most() as u64;
            let end = (next.saturating_add(most)).min(records);
            tries += 1;
            if !found && (next..end).contains(&bad) {
                found = bisection.refused(end - next);
                assert!(!found || next == bad, "{next} was found instead of {bad}");
            } else {
                bisection.passed(end - next);
                next = end;
            }
        }
        tries
    }

    #[test]
    fn one_bad_record_stands_alone_after_few_transactions() {
        for (records, bad) in [(1, 0), (2, 0), (2, 1), (3, 1), (10_000, 0), (10_000, 9_999), (10_000, 3_333)] {
            let tries = tries(records, bad);
            assert!(tries <= 2 * u64::from(records.ilog2()) + 4, "{tries} transactions for {bad} of {records}");
        }
    }
}
