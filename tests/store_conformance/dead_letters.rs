//! What is parked waits whole and in order, and is settled once; whoever plans without knowing of it is refused.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use readcast::source::{Header, Record};
use readcast::store::{
    Advance, Amendment, Commit, CommitOutcome, DeadLetter, Generation, GenerationError, OperationState, ParkedIn,
    ParkedRecord, ParkedSequence, ParkingLimits, PartitionState, PoisonCause, PoisonClass, SequenceId, Settlement,
    StoreError, WaitingRecords, Written,
};
use readcast_core::{AffectedRow, ChangeSet, ColumnType, Json, TableSpec, TopicPartition, Value};
use tokio::sync::{Barrier, Notify};

use super::commits::{assert_counts, counted, counters};
use super::lane::{Lane, PROJECTION, changes, definition};
use super::lifecycle::{begin, copied, empty};
use super::subject::Subject;

/// A table that lists for each key the offsets that were applied, in the order in which they were.
fn seen() -> Vec<TableSpec> {
    vec![TableSpec::new("seen").key("id", ColumnType::Text).with_default(
        "offsets",
        ColumnType::Json,
        Json::empty_array(),
    )]
}

fn seeing<'a>(records: impl IntoIterator<Item = (&'a str, i64)>) -> ChangeSet {
    changes(&seen(), |changes| {
        for (key, offset) in records {
            changes.upsert("seen", [key]).append("offsets", Json::parse(&offset.to_string()).expect("JSON"));
        }
    })
}

pub(super) fn keyed(offset: i64, key: &str) -> Record {
    let value = Some(Bytes::from(format!("value {offset}")));
    Record { offset, key: Some(Bytes::copy_from_slice(key.as_bytes())), value, ..Record::default() }
}

fn sequence_of(key: &str) -> SequenceId {
    SequenceId::of(&keyed(0, key))
}

pub(super) fn undecodable() -> PoisonCause {
    PoisonCause::new(PoisonClass::Undecodable, "it is no JSON")
}

/// Poison of this lane's partition.
pub(super) fn poison(lane: &Lane, record: Record) -> DeadLetter {
    DeadLetter { cause: Some(undecodable()), ..behind(lane, record) }
}

/// A record of this lane's partition that waits for one before it.
pub(super) fn behind(lane: &Lane, record: Record) -> DeadLetter {
    DeadLetter {
        partition: lane.partition.clone(),
        sequence: SequenceId::of(&record),
        record,
        cause: None,
        affected: Vec::new(),
    }
}

fn parking(dead_letters: Vec<DeadLetter>) -> Commit {
    Commit { dead_letters, ..Commit::default() }
}

/// Parks the record at the lane's place, as poison of this key.
async fn park(lane: &mut Lane, key: &str) {
    let letter = poison(lane, keyed(lane.next_offset, key));
    assert!(is_applied(&lane.step(1, parking(vec![letter])).await));
}

fn is_applied(committed: &Result<CommitOutcome, StoreError>) -> bool {
    matches!(committed, Ok(CommitOutcome::Applied(_)))
}

fn live() -> ParkedIn<'static> {
    of(Generation(1))
}

pub(super) fn of(generation: Generation) -> ParkedIn<'static> {
    ParkedIn { projection: PROJECTION, generation }
}

async fn parked(subject: &Subject) -> Vec<ParkedSequence> {
    subject.store.parked(live()).await.expect("it can be read")
}

async fn waiting(
    subject: &Subject,
    partition: &TopicPartition,
    id: &SequenceId,
    from: i64,
    most: usize,
) -> WaitingRecords {
    subject.store.waiting(live(), partition, id, from, most).await.expect("it can be read")
}

fn offsets(waiting: &[ParkedRecord]) -> Vec<i64> {
    waiting.iter().map(|record| record.letter.record.offset).collect()
}

/// A settlement of these records under this epoch that changes nothing in the tables.
fn settlement(lane: &Lane, parking_epoch: i64, settled: impl Into<Vec<i64>>) -> Settlement {
    Settlement {
        partition: lane.partition.clone(),
        parking_epoch,
        settled: settled.into(),
        changes: ChangeSet::new(),
        failed: None,
        amendments: Vec::new(),
        by: "me".into(),
        reason: None,
    }
}

/// A counter to which nothing can be added.
fn full() -> ChangeSet {
    changes(&counters(), |changes| {
        changes.upsert("counters", ["full"]).set("count", i64::MAX);
    })
}

pub(super) async fn dead_letters_rows_and_checkpoint_commit_together_or_not_at_all(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    let mut other = Lane::claim_partition(subject, &definition(counters()), 1).await;
    other.commit(full()).await.expect("a row");
    let both = |lane: &Lane, ids: &[&str], limit| Commit {
        changes: counted(ids),
        dead_letters: vec![poison(lane, keyed(lane.next_offset, "poison"))],
        parking_limits: ParkingLimits { records: limit, of_one_key: 10 },
        ..Commit::default()
    };
    let first = both(&lane, &["a"], 1);
    assert_eq!(lane.step(2, first).await, Ok(CommitOutcome::Applied(Written { rows: 1, missed: 0 })));
    let beyond = both(&lane, &["a"], 1);
    assert!(matches!(lane.step(2, beyond).await, Ok(CommitOutcome::Full(_))));
    let refused = both(&lane, &["a", "full"], 10);
    assert!(matches!(lane.step(2, refused).await, Err(StoreError::Unstorable { .. })));
    let mut fenced = both(&lane, &["a"], 10);
    fenced.advances = vec![Advance { owner_epoch: 0, ..lane.advance() }];
    assert_eq!(lane.try_commit(&fenced).await, Ok(CommitOutcome::Fenced));
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 1), ("full", i64::MAX)]);
    assert_eq!(subject.positions().await, [(0, 2), (1, 1)]);
    assert_eq!(offsets_of(&parked(subject).await), [0]);
    let next = both(&lane, &["a"], 2);
    assert!(is_applied(&lane.step(2, next).await), "the writer goes on");
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 2), ("full", i64::MAX)]);
    assert_eq!(subject.status().await.parked.records, 2);
}

fn offsets_of(parked: &[ParkedSequence]) -> Vec<i64> {
    parked.iter().map(|sequence| sequence.first_offset).collect()
}

/// Records with all that a log may hold.
fn strange_records() -> Vec<Record> {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    // What can't be made smaller: an index that held it would refuse it.
    let mut huge = vec![0; 10 << 20];
    random.fill(&mut huge);
    let some = |bytes: &[u8]| Some(Bytes::copy_from_slice(bytes));
    let header = |name: &str, value: Option<&[u8]>| -> Header { (name.into(), value.map(Bytes::copy_from_slice)) };
    let headers = vec![
        header("trace", some(b"\0\xff").as_deref()),
        header("trace", None),
        header("trace", Some(b"")),
        header("", Some(b"nameless")),
        header("ünï-\0-😀", Some(b"<script>")),
    ];
    let plain = Record::default;
    vec![
        Record { key: None, value: None, ..plain() },
        Record { key: some(b""), value: some(b""), timestamp: Some(0), ..plain() },
        Record { key: some(b"\0"), value: some(b"{\"a\":\"\0\"}"), timestamp: Some(-1), ..plain() },
        Record { key: some(b"\0\0"), value: some(b"\xff\xfe\x80 no UTF-8"), timestamp: Some(i64::MAX), ..plain() },
        Record { key: some(b"\xc3("), value: some(b"'; DROP TABLE x; --\\"), headers, ..plain() },
        Record { key: some(&huge), value: some(b"its key is huge"), headers: vec![header("only", None)], ..plain() },
        Record { key: None, value: some(&huge), timestamp: Some(1_700_000_000_000), ..plain() },
    ]
}

pub(super) async fn a_parked_record_is_kept_byte_for_byte(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    let records: Vec<_> =
        strange_records().into_iter().zip(0..).map(|(record, offset)| Record { offset, ..record }).collect();
    let count = i64::try_from(records.len()).expect("a few");
    let mut letters: Vec<_> = records.iter().map(|record| poison(&lane, record.clone())).collect();
    letters[1].cause = Some(PoisonCause::new(PoisonClass::Unprojectable, "'<b>\u{1b}[31mno\n😀'"));
    letters[2].cause = Some(PoisonCause::new(PoisonClass::Panicked, "a \0 in it"));
    assert!(is_applied(&lane.step(count, parking(letters.clone())).await));
    letters[2].cause = Some(PoisonCause::new(PoisonClass::Panicked, "a \u{fffd} in it"));
    let parked = parked(subject).await;
    assert_eq!(parked.len(), letters.len(), "each has a key of its own, or none");
    for (sequence, letter) in parked.iter().zip(&letters) {
        let found = waiting(subject, &lane.partition, &letter.sequence, 0, 9).await.records;
        // Not for assert_eq!, which would print what is different: ten million bytes of it.
        assert!(found.len() == 1 && found[0].letter == *letter, "the record at {} is another", letter.record.offset);
        assert!(sequence.key == letter.record.key && sequence.id == letter.sequence);
        assert_eq!((sequence.records, sequence.bytes >= 10 << 20), (1, letter.record.bytes() >= 10 << 20));
    }
}

pub(super) async fn what_is_parked_is_listed_in_order_with_what_it_takes(subject: &Subject) {
    let definition = definition(counters());
    let mut one = Lane::claim_partition(subject, &definition, 1).await;
    let mut zero = Lane::claim_partition(subject, &definition, 0).await;
    assert_eq!(subject.status().await.parked, Default::default());
    for (lane, keys) in [(&mut one, ["a", "a", "a"]), (&mut zero, ["z", "a", "z"])] {
        for key in keys {
            let record = keyed(lane.next_offset, key);
            let letter = if record.offset == 2 { behind(lane, record) } else { poison(lane, record) };
            assert!(is_applied(&lane.step(1, parking(vec![letter])).await));
        }
    }
    let parked = parked(subject).await;
    let shown: Vec<_> = parked
        .iter()
        .map(|sequence| {
            let key = sequence.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            (sequence.partition.partition, sequence.first_offset, key.into_owned(), sequence.records, sequence.bytes)
        })
        .collect();
    let of_one = "a".len() as u64 + "value 0".len() as u64;
    let (a, z) = (|| "a".to_owned(), || "z".to_owned());
    assert_eq!(
        shown,
        [(0, 0, z(), 2, 2 * of_one), (0, 1, a(), 1, of_one), (1, 0, a(), 3, 3 * of_one)],
        "a key is a sequence in each partition"
    );
    assert!(parked.iter().all(|sequence| sequence.cause == Some(undecodable()) && sequence.attempts == 0));
    assert!(parked.iter().all(|sequence| sequence.since.parse::<readcast_core::Timestamp>().is_ok()), "{parked:?}");
    let counted = subject.status().await.parked;
    assert_eq!((counted.keys, counted.records), (3, 6));
    assert_eq!(counted.oldest.as_ref(), parked.iter().map(|sequence| &sequence.since).min());
}

pub(super) async fn a_commit_planned_before_somebody_settled_is_outdated_and_writes_nothing(subject: &Subject) {
    let definition = definition(seen());
    let mut lane = Lane::claim(subject, &definition).await;
    let mut other = Lane::claim_partition(subject, &definition, 1).await;
    park(&mut lane, "a").await;
    let begun = begin(subject, &definition, &empty()).await;
    let mut built = Lane::feed(subject, &definition, begun.generation, 0).await;
    let mut operator = Lane::feed(subject, &definition, Generation(1), 2).await;
    operator.partition = lane.partition.clone();
    assert_eq!(lane.load_state(0).await.parked, BTreeSet::from([sequence_of("a")]));
    let settled = Settlement { changes: seeing([("a", 0)]), ..settlement(&lane, 0, [0]) };
    assert_eq!(operator.settle(&settled).await, Ok(Some(Written { rows: 1, missed: 0 })));
    let planned = parking(vec![behind(&lane, keyed(1, "a"))]);
    assert_eq!(lane.step(1, planned).await, Ok(CommitOutcome::Outdated));
    assert_eq!(built.commit(seeing([("a", 0)])).await, Ok(CommitOutcome::Outdated), "so it is in every generation");
    assert!(is_applied(&other.commit(seeing([("b", 0)])).await), "and in no other partition");
    assert!(parked(subject).await.is_empty());
    assert_eq!(subject.positions_of(Generation(1)).await[0], (0, 1));
    let recalled = lane.load_state(0).await;
    assert_eq!((recalled.parking_epoch, recalled.parked), (1, BTreeSet::new()));
    assert!(is_applied(&lane.commit(seeing([("a", 1)])).await));
    built.load_state(0).await;
    assert!(is_applied(&built.commit(seeing([("a", 0)])).await));
    assert_seen(subject, &[("a", &[0, 1]), ("b", &[0])]).await;
}

async fn assert_seen(subject: &Subject, expected: &[(&str, &[i64])]) {
    let list = |offsets: &[i64]| serde_json::to_string(offsets).expect("numbers");
    let expected = expected.iter().map(|(key, offsets)| ((*key).to_owned(), list(offsets)));
    assert_eq!(subject.rows(&seen()[0]).await, expected.collect::<BTreeMap<_, _>>());
}

pub(super) async fn a_settlement_read_before_somebody_else_settled_is_refused_and_changes_nothing(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(seen())).await;
    for key in ["a", "a", "b"] {
        park(&mut lane, key).await;
    }
    let read = waiting(subject, &lane.partition, &sequence_of("a"), 0, 9).await;
    assert_eq!((read.parking_epoch, offsets(&read.records)), (0, vec![0, 1]));
    let first = Settlement { changes: seeing([("a", 0)]), ..settlement(&lane, read.parking_epoch, [0]) };
    assert!(lane.settle(&first).await.expect("an answer").is_some());
    let late = Settlement {
        changes: seeing([("a", 0), ("a", 1)]),
        failed: Some((2, PoisonCause::new(PoisonClass::Exhausted, "too late"))),
        amendments: vec![(0, Amendment::Discard)],
        ..settlement(&lane, read.parking_epoch, [0, 1])
    };
    for _ in 0..2 {
        assert_eq!(lane.settle(&late).await, Ok(None));
    }
    assert_seen(subject, &[("a", &[0])]).await;
    let left = parked(subject).await;
    assert_eq!(offsets_of(&left), [1, 2]);
    assert!(left.iter().all(|sequence| sequence.cause == Some(undecodable()) && sequence.attempts == 0), "{left:?}");
    let memory = lane.load_state(0).await;
    assert_eq!((memory.parking_epoch, memory.amendments.len()), (1, 0));
}

pub(super) async fn a_settlement_that_the_rows_prevent_settles_nothing(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    lane.commit(full()).await.expect("a row");
    park(&mut lane, "a").await;
    let amendments = vec![(1, Amendment::Accept)];
    let impossible = Settlement { changes: counted(&["full"]), amendments, ..settlement(&lane, 0, [1]) };
    assert!(matches!(lane.settle(&impossible).await, Err(StoreError::Unstorable { .. })));
    let memory = lane.load_state(0).await;
    assert_eq!((memory.parking_epoch, memory.parked.len(), memory.amendments.len()), (0, 1, 0));
}

/// Settles what is parked from its front, a few records at a time, until nothing is and `finished` says that nothing
/// will be, and tells of each settlement. With the first it waits until all have come to the `meeting`. How many records
/// it settled, and how often somebody else had been there.
async fn operate(
    subject: &Subject,
    lane: &mut Lane,
    finished: impl Fn() -> bool,
    told: &Notify,
    meeting: &Barrier,
    most: usize,
) -> (usize, usize) {
    let (mut settled, mut late, mut meeting) = (0, 0, Some(meeting));
    loop {
        let is_last_look = finished();
        let sequences = parked(subject).await;
        if sequences.is_empty() && is_last_look {
            return (settled, late);
        }
        for sequence in sequences {
            let key = String::from_utf8(sequence.key.expect("a key").to_vec()).expect("a text");
            let read = waiting(subject, &lane.partition, &sequence.id, 0, most).await;
            let offsets = offsets(&read.records);
            let changes = seeing(offsets.iter().map(|offset| (key.as_str(), *offset)));
            let settlement = Settlement { changes, ..settlement(lane, read.parking_epoch, offsets.clone()) };
            if let Some(meeting) = meeting.take() {
                meeting.wait().await;
            }
            match lane.settle(&settlement).await.expect("the rows can be written") {
                Some(_) => {
                    settled += offsets.len();
                    told.notify_one();
                }
                None => late += 1,
            }
            assert!(settled <= 10_000, "records that were settled are still there");
        }
    }
}

pub(super) async fn two_operators_at_once_settle_each_record_once(subject: &Subject) {
    const RECORDS: i64 = 60;
    let definition = definition(seen());
    let mut lane = Lane::claim(subject, &definition).await;
    let key = |offset: i64| ["a", "b", "c"][usize::try_from(offset % 3).expect("0 to 2")];
    let letters = (0..RECORDS).map(|offset| poison(&lane, keyed(offset, key(offset)))).collect();
    assert!(is_applied(&lane.step(RECORDS, parking(letters)).await));
    let mut operators = [Lane::claim(subject, &definition).await, Lane::claim(subject, &definition).await];
    let [one, other] = &mut operators;
    let (told, meeting) = (Notify::new(), Barrier::new(2));
    let operate = async |lane| operate(subject, lane, || true, &told, &meeting, 2).await;
    let (one, other) = tokio::join!(operate(one), operate(other));
    assert_eq!(i64::try_from(one.0 + other.0), Ok(RECORDS));
    assert!(one.1 + other.1 > 0, "they never met");
    let of = |first: i64| (first..RECORDS).step_by(3).collect::<Vec<_>>();
    assert_seen(subject, &[("a", &of(0)), ("b", &of(1)), ("c", &of(2))]).await;
}

/// A log of records of few keys, some of them poison.
struct Log {
    records: Vec<(&'static str, bool)>,
}

impl Log {
    fn random(length: usize, random: &mut fastrand::Rng) -> Self {
        let record = || (["a", "b", "c", "d"][random.usize(..4)], random.u8(..4) == 0);
        Self { records: std::iter::repeat_with(record).take(length).collect() }
    }

    fn end(&self) -> i64 {
        i64::try_from(self.records.len()).expect("a short log")
    }

    fn at(&self, offset: i64) -> (&'static str, bool) {
        self.records[usize::try_from(offset).expect("an offset")]
    }

    /// What an owner commits of these records who knows of what is parked. Notes what is parked by it.
    fn plan(&self, lane: &Lane, records: Range<i64>, parked: &mut BTreeSet<SequenceId>) -> Commit {
        let (mut applied, mut letters) = (Vec::new(), Vec::new());
        for offset in records {
            let (key, is_poison) = self.at(offset);
            if parked.contains(&sequence_of(key)) {
                letters.push(behind(lane, keyed(offset, key)));
            } else if is_poison {
                letters.push(poison(lane, keyed(offset, key)));
                parked.insert(sequence_of(key));
            } else {
                applied.push((key, offset));
            }
        }
        Commit { changes: seeing(applied), dead_letters: letters, ..Commit::default() }
    }

    /// Commits the whole log in steps of random length, and now and then waits with what it knows until somebody
    /// settles. How often that was outdated.
    async fn project(&self, lane: &mut Lane, told: &Notify, random: &mut fastrand::Rng) -> usize {
        let (mut outdated, mut memory) = (0, PartitionState::default());
        while lane.next_offset < self.end() {
            let step = random.i64(1..=4).min(self.end() - lane.next_offset);
            if !memory.parked.is_empty() && random.u8(..8) == 0 {
                told.notified().await;
            }
            let mut parked = memory.parked.clone();
            let commit = self.plan(lane, lane.next_offset..lane.next_offset + step, &mut parked);
            match lane.step(step, commit).await.expect("an answer") {
                CommitOutcome::Applied(_) => memory.parked = parked,
                CommitOutcome::Outdated => {
                    outdated += 1;
                    memory = lane.load_state(0).await;
                }
                other => panic!("{other:?}"),
            }
        }
        outdated
    }
}

pub(super) async fn settlements_that_race_commits_lose_nothing_and_repeat_nothing(subject: &Subject) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let log = Log::random(300, &mut random);
    let definition = definition(seen());
    let mut operator = Lane::claim(subject, &definition).await;
    let mut owner = Lane::claim(subject, &definition).await;
    let (finished, told, nobody_else) = (Cell::new(false), Notify::new(), Barrier::new(1));
    let projected = async {
        let outdated = log.project(&mut owner, &told, &mut random).await;
        finished.set(true);
        outdated
    };
    let operated = operate(subject, &mut operator, || finished.get(), &told, &nobody_else, 3);
    let (outdated, (settled, late)) = tokio::join!(projected, operated);
    assert!(outdated > 0 && settled > 0, "they never met: outdated {outdated} times, {settled} settled");
    assert_eq!(late, 0, "nobody else settles");
    let of = |key| (0..log.end()).filter(|offset| log.at(*offset).0 == key).collect::<Vec<_>>();
    assert_seen(subject, &[("a", &of("a")), ("b", &of("b")), ("c", &of("c")), ("d", &of("d"))]).await;
    assert_eq!(subject.positions().await, [(0, log.end())]);
}

pub(super) async fn waiting_records_come_in_the_order_of_the_log_also_after_the_first_failed_again(subject: &Subject) {
    const RECORDS: i64 = 400;
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    let mut letters: Vec<_> = (0..RECORDS).map(|offset| behind(&lane, keyed(offset, "a"))).collect();
    letters[0].cause = Some(undecodable());
    assert!(is_applied(&lane.step(RECORDS, parking(letters)).await));
    let again = PoisonCause::new(PoisonClass::Unprojectable, "it has no total");
    for epoch in 0..3 {
        let failed = Settlement { failed: Some((0, again.clone())), ..settlement(&lane, epoch, []) };
        assert_eq!(lane.settle(&failed).await, Ok(Some(Written::default())));
    }
    // A database that knows that all rows are of this sequence reads them as they lie.
    subject.execute(&format!("ANALYZE {}", subject.own("dead_letters"))).await;
    let of = sequence_of("a");
    let all = waiting(subject, &lane.partition, &of, 0, 1_000).await;
    assert_eq!((all.parking_epoch, offsets(&all.records)), (3, (0..RECORDS).collect()));
    assert_eq!((all.records[0].attempts, all.records[0].letter.cause.as_ref()), (3, Some(&again)));
    assert_eq!((all.records[1].attempts, all.records[1].letter.cause.as_ref()), (0, None));
    let some = waiting(subject, &lane.partition, &of, 0, 3).await;
    assert_eq!(offsets(&some.records), [0, 1, 2]);
    let later = waiting(subject, &lane.partition, &of, 398, 3).await;
    assert_eq!(offsets(&later.records), [398, 399]);
    let first = parked(subject).await.remove(0);
    assert_eq!((first.first_offset, first.attempts, first.cause), (0, 3, Some(again)));
    // The next one is first now, and nobody knows what is wrong with it.
    assert!(lane.settle(&settlement(&lane, 3, [0])).await.expect("an answer").is_some());
    let next = parked(subject).await.remove(0);
    assert_eq!((next.first_offset, next.attempts, next.cause, next.records), (1, 0, None, 399));
}

pub(super) async fn limits_hold_for_all_that_is_parked_and_for_each_key(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    let mut other = Lane::claim_partition(subject, &definition, 1).await;
    let step = async |lane: &mut Lane, keys: &[&str], records, of_one_key| {
        let letters = keys.iter().zip(lane.next_offset..).map(|(key, offset)| poison(lane, keyed(offset, key)));
        let commit = Commit { parking_limits: ParkingLimits { records, of_one_key }, ..parking(letters.collect()) };
        match lane.step(i64::try_from(keys.len()).expect("a few"), commit).await.expect("an answer") {
            CommitOutcome::Applied(_) => None,
            CommitOutcome::Full(limit) => Some(limit),
            unexpected => panic!("{unexpected:?}"),
        }
    };
    assert_eq!(step(&mut lane, &["a"], 0, 9).await.as_deref(), Some("`max_parked` is 0"));
    assert_eq!(step(&mut lane, &["a", "b", "a"], 5, 2).await, None, "up to the limit");
    assert_eq!(step(&mut lane, &["b", "a"], 9, 2).await.as_deref(), Some("`max_parked_per_key` is 2"));
    assert_eq!(step(&mut other, &["a"], 5, 1).await, None, "a key of another partition is another");
    assert_eq!(step(&mut other, &["c"], 5, 1).await, None, "what is not parked on does not count");
    assert_eq!(step(&mut lane, &["d"], 5, 2).await.as_deref(), Some("`max_parked` is 5"));
    assert_eq!(subject.positions().await, [(0, 3), (1, 2)]);
    assert_eq!(subject.status().await.parked.records, 5);
    let begun = begin(subject, &definition, &copied(&[(0, 0), (1, 0)])).await;
    let mut copy = Lane::feed(subject, &definition, begun.generation, 0).await;
    assert_eq!(step(&mut copy, &["a", "b"], 2, 1).await, None, "each generation has its own");
    assert_eq!(lane.step(1, Commit::default()).await, Ok(CommitOutcome::Applied(Written::default())));
}

/// What is recorded of amendments, by offset.
async fn amendments(subject: &Subject) -> Vec<(String, String)> {
    let table = TableSpec::new(subject.own("amendments"))
        .key("record_offset", ColumnType::I64)
        .column("action", ColumnType::Text)
        .nullable("value", ColumnType::Bytes)
        .nullable("original", ColumnType::Bytes)
        .column("made_by", ColumnType::Text);
    subject.rows(&table).await.into_iter().collect()
}

pub(super) async fn amendments_are_recalled_in_every_generation_and_survive_a_rename(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    let mut other = Lane::claim_partition(subject, &definition, 1).await;
    for key in ["a", "a", "a", "a"] {
        park(&mut lane, key).await;
    }
    let strange = Amendment::Replace(Bytes::from_static(b"\0\xff"));
    let decided = [(0, strange), (1, Amendment::Accept), (2, Amendment::Discard)];
    let settled = Settlement { amendments: decided.to_vec(), ..settlement(&lane, 0, [0, 1]) };
    assert!(lane.settle(&settled).await.expect("an answer").is_some());
    let row = |offset: &str, rest: &str| (offset.to_owned(), rest.to_owned());
    let value = |offset: u8| format!("76616c7565203{offset}");
    let mut recorded = vec![
        row("0", &format!("replace | 00ff | {} | me", value(0))),
        row("1", &format!("accept | NULL | {} | me", value(1))),
        row("2", &format!("discard | NULL | {} | me", value(2))),
    ];
    assert_eq!(amendments(subject).await, recorded);
    // The last decision counts, and what the record was stays known.
    let later = Settlement {
        amendments: vec![(0, Amendment::Replace(Bytes::new()))],
        by: "you".into(),
        ..settlement(&lane, 1, [2])
    };
    assert!(lane.settle(&later).await.expect("an answer").is_some());
    recorded[0] = row("0", &format!("replace |  | {} | you", value(0)));
    assert_eq!(amendments(subject).await, recorded);
    let begun = begin(subject, &definition, &empty()).await;
    let mut built = Lane::feed(subject, &definition, begun.generation, 0).await;
    let expected =
        BTreeMap::from([(0, Amendment::Replace(Bytes::new())), (1, Amendment::Accept), (2, Amendment::Discard)]);
    assert_eq!(lane.load_state(0).await.amendments, expected);
    let memory = built.load_state(0).await;
    assert_eq!((memory.amendments, memory.parked), (expected.clone(), BTreeSet::new()));
    assert_eq!(other.load_state(0).await.amendments, BTreeMap::new());
    subject.store.rename(PROJECTION, "renamed", "me").await.expect("another name");
    let status = subject.generation(Generation(1)).await;
    assert_eq!((status.projection.as_str(), status.parked.records), ("renamed", 1), "the letters follow");
    subject.store.rename("renamed", PROJECTION, "me").await.expect("its name");
    assert_eq!(lane.load_state(0).await.amendments, expected);
    assert_eq!(amendments(subject).await, recorded);
}

/// What readers see of the keys that wait: by first offset.
async fn quarantine(subject: &Subject) -> Vec<(String, String)> {
    let view = TableSpec::new(subject.own("quarantine"))
        .key("first_offset", ColumnType::I64)
        .column("projection", ColumnType::Text)
        .column("topic", ColumnType::Text)
        .column("partition", ColumnType::I32)
        .nullable("key", ColumnType::Bytes)
        .column("reason", ColumnType::Text)
        .column("records_behind", ColumnType::I64);
    subject.rows(&view).await.into_iter().collect()
}

pub(super) async fn readers_see_which_keys_of_the_live_generation_wait(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    for key in ["a", "b", "a", "a"] {
        park(&mut lane, key).await;
    }
    let unkeyed = [behind(&lane, Record { offset: 4, ..Record::default() })];
    assert!(is_applied(&lane.step(1, parking(unkeyed.into())).await));
    let mut begun = begin(subject, &definition, &empty()).await;
    let mut built = Lane::feed(subject, &definition, begun.generation, 0).await;
    park(&mut built, "z").await;
    let row = |offset: &str, rest: &str| (offset.to_owned(), format!("tested | log | 0 | {rest}"));
    let expected = [row("0", "61 | undecodable | 2"), row("1", "62 | undecodable | 0"), row("4", "NULL | waiting | 0")];
    assert_eq!(quarantine(subject).await, expected);
    assert!(lane.settle(&settlement(&lane, 0, [0, 1])).await.expect("an answer").is_some());
    assert_eq!(quarantine(subject).await, [row("2", "61 | undecodable | 1"), row("4", "NULL | waiting | 0")]);
    begun.ready().await;
    built.load_state(0).await;
    assert!(is_applied(&built.step(4, Commit::default()).await));
    begun.swap(subject, Generation(1), begun.generation).await.expect("a swap");
    assert_eq!(quarantine(subject).await, [row("0", "7a | undecodable | 0")]);
}

pub(super) async fn readers_see_which_rows_parked_records_would_have_changed(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    let affected =
        [AffectedRow::new("counters", ["x"]), AffectedRow::new("pairs", [Value::from("y"), Value::from(1_i64)])];
    let first = DeadLetter { affected: affected.to_vec(), ..poison(&lane, keyed(0, "a")) };
    // The record behind it would have changed one of the same rows.
    let second = DeadLetter { affected: affected[..1].to_vec(), ..behind(&lane, keyed(1, "a")) };
    let unknown = poison(&lane, keyed(2, "b"));
    assert!(is_applied(&lane.step(3, parking(vec![first, second, unknown])).await));
    let view = TableSpec::new(subject.own("quarantine"))
        .key("first_offset", ColumnType::I64)
        .key("row_key", ColumnType::Text)
        .nullable("table_name", ColumnType::Text)
        .column("records_behind", ColumnType::I64);
    let rows: Vec<_> = subject.rows(&view).await.into_iter().collect();
    let row = |key: &str, rest: &str| (key.to_owned(), rest.to_owned());
    assert_eq!(
        rows,
        [row("0 | [\"y\",\"1\"]", "pairs | 1"), row("0 | x", "counters | 1"), row("2 | NULL", "NULL | 0")]
    );
}

pub(super) async fn while_dead_letters_cannot_be_written_the_checkpoint_never_moves(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    let commit = |lane: &Lane| Commit {
        changes: counted(&["a"]),
        dead_letters: vec![poison(lane, keyed(lane.next_offset, "b"))],
        ..Commit::default()
    };
    subject.refuse("INSERT", "dead_letters").await;
    for _ in 0..2 {
        let parking = commit(&lane);
        let refused = lane.step(1, parking).await;
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "the rows are not to blame: {refused:?}");
    }
    let twice =
        Commit { dead_letters: vec![poison(&lane, keyed(0, "b")), poison(&lane, keyed(0, "b"))], ..commit(&lane) };
    subject.refuse_no_more("dead_letters").await;
    let refused = lane.step(1, twice).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "one record is parked once: {refused:?}");
    assert_eq!(subject.positions().await, [(0, 0)]);
    assert!(subject.rows(&counters()[0]).await.is_empty() && parked(subject).await.is_empty());
    let parking = commit(&lane);
    assert!(is_applied(&lane.step(1, parking).await));
    subject.refuse("DELETE", "dead_letters").await;
    let settled = Settlement { changes: counted(&["b"]), ..settlement(&lane, 0, [0]) };
    let refused = lane.settle(&settled).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    subject.refuse_no_more("dead_letters").await;
    assert_counts(subject.rows(&counters()[0]).await, &[("a", 1)]);
    assert_eq!(lane.settle(&settled).await, Ok(Some(Written { rows: 1, missed: 0 })), "nothing of it had happened");
}

pub(super) async fn rows_that_the_store_cannot_hold_are_unstorable(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    let table = &counters()[0];
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let huge: String = std::iter::repeat_with(|| random.alphanumeric()).take(10 << 20).collect();
    let huge = lane.commit(counted(&[&huge])).await;
    assert!(matches!(huge, Ok(CommitOutcome::Applied(_)) | Err(StoreError::Unstorable { .. })), "stored, or to blame");
    let physical = subject.physical(table);
    subject.execute(&format!("CREATE UNIQUE INDEX alike ON {physical} (count)")).await;
    let alike = lane.commit(counted(&["b", "c"])).await;
    assert!(matches!(alike, Err(StoreError::Unstorable { .. })), "{alike:?}");
    subject.execute(&format!("DROP VIEW counters; DROP TABLE {physical}")).await;
    let gone = lane.commit(counted(&["b"])).await;
    assert!(matches!(gone, Err(StoreError::Refused { .. })), "no rows would do: {gone:?}");
}

pub(super) async fn trouble_keeps_its_beginning_while_it_retries_and_is_another_when_it_halts(subject: &Subject) {
    subject.store.prepare(&definition(counters())).await.expect("tables");
    let record = async |text: &str, attempt| {
        let trouble = GenerationError { text: text.into(), attempt };
        subject.store.record_error(PROJECTION, Generation(1), "me", &trouble).await.expect("it is recorded");
        let recorded = subject.status().await.last_error.expect("trouble");
        assert_eq!((recorded.text.as_str(), recorded.attempt), (text, attempt));
        let began_long_ago = recorded.since.starts_with("2001-01-01");
        let back = format!("UPDATE {} SET last_error_at = '2001-01-01T00:00:00.000Z'", subject.own("generations"));
        subject.execute(&back).await;
        began_long_ago
    };
    assert!(!record("no connection", Some(1)).await);
    assert!(record("no connection", Some(2)).await, "it is tried again");
    assert!(record("no answer", Some(3)).await, "for whichever reason");
    assert!(!record("poison", None).await, "it halted");
    assert!(record("poison", None).await, "and still does");
    assert!(!record("other poison", None).await, "for another reason");
    assert!(!record("no connection", Some(1)).await, "it is tried again");
    assert!(record("no connection", None).await, "what it could not get over");
    subject.store.clear_error(PROJECTION, Generation(1), "me").await.expect("it is recorded");
    assert_eq!(subject.status().await.last_error, None);
    assert!(!record("no connection", Some(1)).await);
}

pub(super) async fn a_generation_that_failed_is_tried_no_more(subject: &Subject) {
    let definition = definition(counters());
    subject.store.prepare(&definition).await.expect("tables");
    for cancelled in [false, true] {
        let mut begun = begin(subject, &definition, &empty()).await;
        let trouble = GenerationError { text: "no connection".into(), attempt: Some(7) };
        subject.store.record_error(PROJECTION, begun.generation, "me", &trouble).await.expect("it is recorded");
        if cancelled {
            subject.store.cancel(PROJECTION, "me").await.expect("a cancellation");
        } else {
            begun.lead.end(begun.generation, Some("it went wrong")).await.expect("an end");
            begun.lead.finish(begun.operation, OperationState::Refused, "failed").await.expect("an end");
        }
        let error = subject.generation(begun.generation).await.last_error.expect("a reason");
        assert_eq!(error.attempt, None, "{error:?}");
    }
}

/// A later version may know more classes. To show the record as one that only waits would be wrong.
pub(super) async fn a_poison_class_that_is_not_known_is_named_and_never_left_out(subject: &Subject) {
    let mut lane = Lane::claim(subject, &definition(counters())).await;
    park(&mut lane, "key").await;
    subject.execute(&format!("UPDATE {} SET class = 'cursed'", subject.own("dead_letters"))).await;
    let refused = subject.store.parked(live()).await.expect_err("a class that nobody knows");
    assert!(refused.to_string().contains("cursed"), "{refused}");
    let waiting = subject.store.waiting(live(), &lane.partition, &sequence_of("key"), 0, 9).await;
    assert!(waiting.is_err_and(|error| error.to_string().contains("cursed")));
}
