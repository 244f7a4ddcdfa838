//! How records are read and what is done about those that can't be projected, where that is not the default. Pure.

use super::Check;
use crate::plan::{Identity, RecordPolicy};
use crate::store::ParkingLimits;
use crate::text::counted;

pub(super) fn checks(projection: &str, policy: &RecordPolicy) -> Vec<Check> {
    let default = RecordPolicy::default();
    let RecordPolicy { identity, duplicate_window, max_record_bytes, parking, .. } = policy;
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
    let what = format!("{projection}: duplicates");
    let identified_by = match identity {
        Identity::Body => "the id in the event".to_owned(),
        Identity::Header(header) => format!("the header `{header}`"),
        Identity::Sequence(header) => format!("its key and the number in the header `{header}`"),
    };
    if *duplicate_window > 0 {
        let finding = format!("an event is identified by {identified_by}, over {duplicate_window} offsets");
        checks.push(Check::new(what, Ok(finding)));
    } else if *identity != default.identity {
        let finding = "`duplicate_id` has no effect, because `duplicate_window` is 0";
        checks.push(Check::warning(what, finding));
    }
    checks
}
