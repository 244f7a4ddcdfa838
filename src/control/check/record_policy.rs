//! How records are read, how duplicates are recognised, and what is done about those that can't be projected. Pure.

use super::Check;
use crate::plan::{Identity, RecordPolicy};
use crate::store::{ParkingLimits, WindowSize};
use crate::text::counted;

/// What is not the default of how records are read and parked.
pub(super) fn checks(projection: &str, policy: &RecordPolicy) -> Vec<Check> {
    let default = RecordPolicy::default();
    let RecordPolicy { max_record_bytes, parking, .. } = policy;
    let mut checks = Vec::new();
    if *parking != default.parking {
        let ParkingLimits { records, of_one_key } = *parking;
        let finding = match records {
            0 => "no record is parked: the projection halts at the first record that can't be projected".to_owned(),
            _ => {
                let (records, of_one_key) = (counted(records, "record"), counted(of_one_key, "record"));
                format!("the projection halts when more than {records} are parked, or {of_one_key} of one key")
            }
        };
        checks.push(Check::new(format!("{projection}: parking"), Ok(finding)));
    }
    if *max_record_bytes != default.max_record_bytes {
        let finding = format!("records of more than {max_record_bytes} bytes are parked unread");
        checks.push(Check::new(format!("{projection}: record size"), Ok(finding)));
    }
    checks
}

/// How second copies of an event are recognised. `kept` is the window of the live generation, if there is one.
pub(super) fn duplicates(projection: &str, policy: &RecordPolicy, partitions: usize, kept: Option<i64>) -> Check {
    let RecordPolicy { identity, duplicate_window: size, .. } = policy;
    let what = format!("{projection}: duplicates");
    let identified_by = match identity {
        Identity::Body => "the id in the event".to_owned(),
        Identity::Header(header) => format!("the header `{header}`"),
        Identity::Sequence(header) => format!("its key and the number in the header `{header}`"),
    };
    let because = match size {
        WindowSize::Offsets(_) => "`duplicate_window` is 0",
        WindowSize::Bytes(_) => "`duplicate_memory` is too small",
    };
    let next = size.offsets(partitions);
    let (offsets, later) = match (size, kept) {
        (WindowSize::Bytes(_), Some(kept)) if kept != next => {
            (kept, format!(", and over {} after a rebuild", counted(next.unsigned_abs(), "offset")))
        }
        _ => (next, String::new()),
    };
    match offsets {
        0 if *identity != Identity::default() => {
            Check::warning(what, format!("`duplicate_id` has no effect, because {because}"))
        }
        0 => Check::new(what, Ok(format!("an event that was written twice is projected twice, because {because}"))),
        _ => {
            let offsets = counted(offsets.unsigned_abs(), "offset");
            Check::new(what, Ok(format!("an event is identified by {identified_by}, over {offsets}{later}")))
        }
    }
}
