//! Events of a plausible bank, for demonstrations, tests and benchmarks. A seed gives the same events on every machine.

use readcast_core::Timestamp;
use readcast_core::testing::SplitMix64;

use super::{ACCOUNTS, ASSIGNED, BOOKED, OPENED, OWNERS, REGISTERED, RENAMED, TRANSFERS};

/// The time of the first event: 2024-05-20T00:00:00Z in microseconds.
const FIRST_EVENT_MICROS: i64 = 1_716_163_200_000_000;
/// Twenty seconds between events: fifty thousand are twelve days.
const MICROS_PER_EVENT: i64 = 20_000_000;

/// An event with its topic and its record key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankEvent {
    /// The topic of the record.
    pub topic: &'static str,
    /// The record key: the id of the owner, the account or the transfer.
    pub key: String,
    /// The event's JSON text.
    pub json: String,
}

/// An endless stream of events. All owners are registered first, then all accounts are opened; after that one event in
/// ten renames an owner, and one in fifty assigns an account to another owner. The others are transfers.
///
/// ```
/// use readcast_projections::bank::sample::BankEvents;
///
/// let event = BankEvents::new(7).next().expect("endless");
/// assert_eq!((event.topic, event.key.as_str()), ("owners", "owner_1"));
/// ```
#[derive(Clone, Debug)]
pub struct BankEvents {
    random: SplitMix64,
    owners: u64,
    accounts: u64,
    events: i64,
}

impl BankEvents {
    /// The stream of the seed `seed`, of 100 owners with 300 accounts.
    pub fn new(seed: u64) -> Self {
        Self { random: SplitMix64::new(seed), owners: 100, accounts: 300, events: 0 }
    }

    /// The same stream with `owners` owners and `accounts` accounts, at least one each.
    #[must_use]
    pub fn with(self, owners: u32, accounts: u32) -> Self {
        Self { owners: owners.max(1).into(), accounts: accounts.max(1).into(), ..self }
    }

    fn owner(&mut self) -> String {
        format!("owner_{}", 1 + self.random.below(self.owners))
    }

    fn account(&mut self) -> String {
        format!("account_{}", 1 + self.random.below(self.accounts))
    }

    /// The topic, the type, the record key and the data of the next event.
    fn next_event(&mut self) -> (&'static str, &'static str, String, String) {
        let number = self.events.unsigned_abs();
        if number <= self.owners {
            let key = format!("owner_{number}");
            let data = format!(r#"{{"owner_id":"{key}","name":"Name {number}"}}"#);
            return (OWNERS, REGISTERED, key, data);
        }
        if number <= self.owners + self.accounts {
            let (key, owner) = (format!("account_{}", number - self.owners), self.owner());
            let data = format!(r#"{{"account_id":"{key}","owner_id":"{owner}"}}"#);
            return (ACCOUNTS, OPENED, key, data);
        }
        match self.random.below(50) {
            0..5 => {
                let key = self.owner();
                let data = format!(r#"{{"owner_id":"{key}","name":"Name {number}"}}"#);
                (OWNERS, RENAMED, key, data)
            }
            5 => {
                let (key, owner) = (self.account(), self.owner());
                let data = format!(r#"{{"account_id":"{key}","owner_id":"{owner}"}}"#);
                (ACCOUNTS, ASSIGNED, key, data)
            }
            _ => {
                let (key, from, to) = (format!("transfer_{number}"), self.account(), self.account());
                let cents = 1 + self.random.below(100_000);
                let amount = format!("{}.{:02}", cents / 100, cents % 100);
                let data = format!(r#"{{"transfer_id":"{key}","from":"{from}","to":"{to}","amount":{amount}}}"#);
                (TRANSFERS, BOOKED, key, data)
            }
        }
    }
}

impl Iterator for BankEvents {
    type Item = BankEvent;

    fn next(&mut self) -> Option<BankEvent> {
        self.events += 1;
        let time = Timestamp::from_micros(FIRST_EVENT_MICROS + (self.events - 1) * MICROS_PER_EVENT)?;
        let (topic, event_type, key, data) = self.next_event();
        let id = self.events;
        let json = format!(r#"{{"event_id":"bank_{id}","type":"{event_type}","timestamp":"{time}","data":{data}}}"#);
        Some(BankEvent { topic, key, json })
    }
}
