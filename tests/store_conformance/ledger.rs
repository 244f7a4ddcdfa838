//! The ledger of event ids, and what else becomes of a generation's memory: when a copy is made of it, when it is
//! dropped, when a part of the log is lost.

use std::collections::BTreeSet;

use readcast::store::{
    Advance, CheckpointMove, Command, Commit, CommitOutcome, DropOutcome, DuplicateWindow, Generation, Leadership,
    LedgerEntry, LedgerPage, OperationState, SequenceId, Settlement, StoreError,
};
use readcast_core::{ChangeSet, Definition};

use super::commits::counters;
use super::dead_letters::{behind, keyed, of, poison, undecodable};
use super::lane::{Lane, PROJECTION, definition};
use super::lifecycle::{begin, copied, empty, try_lead};
use super::subject::Subject;

/// The event at `offset`, each with an id of its own.
fn event(offset: i64) -> LedgerEntry {
    LedgerEntry::of_event(offset, &offset.to_be_bytes(), b"content")
}

/// Commits so many offsets with a page of their ids, which keeps the pages of the last `window` offsets.
async fn note(lane: &mut Lane, offsets: i64, window: i64) -> Result<CommitOutcome, StoreError> {
    let to = lane.next_offset + offsets;
    let entries = (lane.next_offset..to).map(event).collect();
    let page = LedgerPage { partition: lane.partition.clone(), to, entries, forget_to: to - window };
    lane.step(offsets, Commit { ledger: vec![page], ..Commit::default() }).await
}

fn is_applied(committed: &Result<CommitOutcome, StoreError>) -> bool {
    matches!(committed, Ok(CommitOutcome::Applied(_)))
}

/// Which of the offsets 0 to 99 the window knows the ids of, as an event at `offset` finds it.
fn known(window: &DuplicateWindow, offset: i64) -> Vec<i64> {
    (0..100).filter(|other| window.last(&event(*other).id, offset) == Some(event(*other).content)).collect()
}

async fn recalled(lane: &mut Lane, window: i64) -> Vec<i64> {
    let memory = lane.load_state(window).await;
    assert_eq!(memory.window.offsets(), window);
    known(&memory.window, lane.next_offset)
}

pub(super) async fn the_ledger_recalls_the_ids_of_the_window_and_no_more(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    let mut other = Lane::claim_partition(subject, &definition, 1).await;
    assert_eq!(recalled(&mut lane, 10).await, [0; 0]);
    for offsets in [4, 3, 5] {
        assert!(is_applied(&note(&mut lane, offsets, 10).await));
    }
    assert!(is_applied(&lane.step(2, Commit::default()).await), "a commit without ids writes no page");
    assert!(is_applied(&note(&mut other, 1, 10).await));
    assert_eq!(recalled(&mut lane, 10).await, (4..12).collect::<Vec<_>>());
    assert_eq!(recalled(&mut lane, 5).await, [9, 10, 11]);
    assert_eq!(recalled(&mut lane, 2).await, [0; 0]);
    assert_eq!(recalled(&mut lane, 100).await, (0..12).collect::<Vec<_>>(), "no page was out of reach so far");
    assert_eq!(recalled(&mut other, 10).await, [0]);
    assert_eq!(lane.load_state(0).await.window, DuplicateWindow::new(0), "nothing is read that is not asked for");
    assert_eq!(subject.count_own("ledger").await, 4);
    assert!(is_applied(&note(&mut lane, 1, 8).await));
    assert_eq!(recalled(&mut lane, 100).await, [(7..12).collect::<Vec<_>>(), vec![14]].concat());
    assert_eq!(subject.count_own("ledger").await, 3, "pages that are out of reach are gone");
}

pub(super) async fn what_a_commit_that_was_fenced_saw_is_not_in_the_ledger(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    assert!(is_applied(&note(&mut lane, 2, 10).await));
    let mut later = Lane::claim(subject, &definition).await;
    assert_eq!(note(&mut lane, 2, 10).await, Ok(CommitOutcome::Fenced));
    assert_eq!(recalled(&mut later, 10).await, [0, 1]);
    // A commit whose answer was lost is made again.
    lane.owner_epoch = later.owner_epoch;
    assert!(is_applied(&note(&mut lane, 2, 10).await));
    assert!(is_applied(&note(&mut later, 2, 10).await));
    assert_eq!(recalled(&mut later, 10).await, [0, 1, 2, 3]);
}

/// What the sequences of this lane's partition are in its generation, by the offsets of their records.
async fn waiting(subject: &Subject, lane: &Lane, generation: Generation) -> Vec<Vec<i64>> {
    let parked = subject.store.parked(of(generation)).await.expect("it can be read");
    let mut all = Vec::new();
    for sequence in parked.iter().filter(|sequence| sequence.partition == lane.partition) {
        let waiting = subject.store.waiting(of(generation), &lane.partition, &sequence.id, 0, 99).await;
        let waiting = waiting.expect("it can be read").records;
        all.push(waiting.iter().map(|record| record.letter.record.offset).collect());
    }
    all
}

/// Parks records at the lane's place and so many behind it, in one commit.
async fn park(lane: &mut Lane, key: &str, records: i64) {
    let letter = |offset| {
        if offset == lane.next_offset { poison(lane, keyed(offset, key)) } else { behind(lane, keyed(offset, key)) }
    };
    let dead_letters = (lane.next_offset..lane.next_offset + records).map(letter).collect();
    assert!(is_applied(&lane.step(records, Commit { dead_letters, ..Commit::default() }).await));
}

fn failed(lane: &Lane, offset: i64) -> Settlement {
    Settlement {
        partition: lane.partition.clone(),
        parking_epoch: lane.parking_epoch,
        settled: Vec::new(),
        changes: ChangeSet::new(),
        failed: Some((offset, undecodable())),
        amendments: Vec::new(),
        by: "me".into(),
        reason: None,
    }
}

pub(super) async fn a_copy_has_what_was_parked_and_seen_before_its_checkpoints_and_not_what_comes_after(
    subject: &Subject,
) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    let mut whole = Lane::claim_partition(subject, &definition, 1).await;
    park(&mut lane, "a", 2).await;
    lane.settle(&failed(&lane, 0)).await.expect("an answer").expect("nobody else settled");
    lane.load_state(0).await;
    assert!(is_applied(&note(&mut lane, 4, 50).await));
    assert!(is_applied(&note(&mut lane, 2, 50).await));
    park(&mut lane, "a", 1).await;
    park(&mut lane, "b", 1).await;
    assert!(is_applied(&note(&mut whole, 3, 50).await));
    park(&mut whole, "a", 1).await;
    let begun = begin(subject, &definition, &copied(&[(0, 4)])).await;
    let generation = begun.generation;
    let mut copy = Lane::feed(subject, &definition, generation, 0).await;
    assert_eq!(recalled(&mut copy, 50).await, [2, 3]);
    assert_eq!(copy.load_state(50).await.parked, BTreeSet::from([SequenceId::of(&keyed(0, "a"))]));
    assert_eq!(waiting(subject, &copy, generation).await, [[0, 1]]);
    let [original, copied] = [Generation(1), generation].map(|generation| subject.store.parked(of(generation)));
    let (original, copied) = (original.await.expect("a list"), copied.await.expect("a list"));
    assert_eq!((copied[0].attempts, &copied[0].since), (1, &original[0].since), "it is as old as it was");
    let mut copy_of_whole = Lane::feed(subject, &definition, generation, 1).await;
    assert_eq!(recalled(&mut copy_of_whole, 50).await, [0, 1, 2]);
    assert_eq!(waiting(subject, &copy_of_whole, generation).await, [[3]]);
    // It meets the same records then, in batches of its own or in the same.
    assert!(is_applied(&note(&mut copy, 1, 50).await));
    assert_eq!(recalled(&mut copy, 50).await, [2, 3, 4]);
    assert!(is_applied(&note(&mut copy, 3, 50).await));
    assert_eq!(recalled(&mut copy, 50).await, (2..8).collect::<Vec<_>>());
    park(&mut copy, "a", 1).await;
    park(&mut copy, "b", 1).await;
    assert_eq!(waiting(subject, &copy, generation).await, waiting(subject, &lane, Generation(1)).await);
}

pub(super) async fn what_is_parked_and_seen_goes_with_its_generation(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    let mut begun = begin(subject, &definition, &empty()).await;
    park(&mut lane, "a", 3).await;
    assert!(is_applied(&note(&mut lane, 1, 50).await));
    begun.lead.follow(begun.generation).await.expect("it may go on");
    let mut built = Lane::feed(subject, &definition, begun.generation, 0).await;
    begun.lead.follow(begun.generation).await.expect("it may go on");
    park(&mut built, "a", 2).await;
    assert!(is_applied(&note(&mut built, 2, 50).await));
    assert_eq!((subject.count_own("dead_letters").await, subject.count_own("ledger").await), (5, 2));
    assert_eq!(subject.generation(begun.generation).await.parked.records, 2);
    begun.lead.end(begun.generation, None).await.expect("an end");
    let ended = subject.generation(begun.generation).await;
    assert_eq!(begun.lead.drop_tables(&ended).await, Ok(DropOutcome::Done(Vec::new())));
    assert_eq!((subject.count_own("dead_letters").await, subject.count_own("ledger").await), (3, 1));
    assert_eq!(subject.generation(begun.generation).await.parked, Default::default());
    assert_eq!(waiting(subject, &lane, Generation(1)).await, [[0, 1, 2]]);
}

pub(super) async fn leader_epochs_are_kept_with_the_checkpoint_and_forgotten_when_unknown(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    for leader_epoch in [None, Some(0), Some(7), Some(6), None, Some(i32::MAX)] {
        let commit = Commit { advances: vec![Advance { leader_epoch, ..lane.advance() }], ..Commit::default() };
        assert!(is_applied(&lane.try_commit(&commit).await));
        lane.next_offset += 1;
        assert_eq!(subject.status().await.checkpoints[0].leader_epoch, leader_epoch);
        let claimed = lane.claim_again().await;
        assert_eq!((claimed.leader_epoch, claimed.next_offset), (leader_epoch, lane.next_offset));
    }
}

/// Asks for an operation that accepts what is lost, and leads.
async fn accepting(subject: &Subject) -> (Box<dyn Leadership>, i64) {
    let operation = subject.store.request(PROJECTION, &Command::AcceptLoss, "me").await.expect("a request");
    (try_lead(subject).await, operation)
}

/// Two partitions: of the first 4 offsets were read and one is parked, of the second 3 and two are parked.
async fn two_lanes(subject: &Subject, definition: &Definition) -> [Lane; 2] {
    let mut lanes =
        [Lane::claim_partition(subject, definition, 0).await, Lane::claim_partition(subject, definition, 1).await];
    for (lane, records) in lanes.iter_mut().zip([1, 0]) {
        if records > 0 {
            park(lane, "a", records).await;
        }
        assert!(is_applied(&note(lane, 3, 50).await));
        let advance = Advance { leader_epoch: Some(3), ..lane.advance() };
        assert!(is_applied(&lane.try_commit(&Commit { advances: vec![advance], ..Commit::default() }).await));
        lane.next_offset += 1;
    }
    lanes
}

pub(super) async fn checkpoints_resume_where_the_log_can_be_read_and_their_owners_are_fenced(subject: &Subject) {
    let definition = definition(counters());
    let [mut lane, mut gone] = two_lanes(subject, &definition).await;
    let (mut lead, operation) = accepting(subject).await;
    let to = |lane: &Lane, to| CheckpointMove { generation: Generation(1), partition: lane.partition.clone(), to };
    let moves = [to(&lane, Some((10, Some("another".to_owned())))), to(&gone, None)];
    let before = subject.status().await.checkpoints[0].owner_epoch;
    lead.resume_at(&moves, operation, "5 records are gone").await.expect("they can be moved");
    let status = subject.status().await;
    let [held] = &status.checkpoints[..] else { panic!("{status:?}") };
    assert_eq!((held.next_offset, held.owner_epoch, held.leader_epoch), (10, before + 1, None));
    assert_eq!((held.log_id.as_deref(), status.parked.records), (Some("another"), 1));
    assert_eq!((subject.count_own("dead_letters").await, subject.count_own("ledger").await), (1, 1));
    let ended = subject.store.operations(PROJECTION, 9).await.expect("operations").remove(0);
    assert_eq!((ended.state, ended.outcome.as_deref()), (OperationState::Done, Some("5 records are gone")));
    assert_eq!(note(&mut lane, 1, 50).await, Ok(CommitOutcome::Fenced));
    assert_eq!(note(&mut gone, 1, 50).await, Ok(CommitOutcome::Fenced));
    lane.next_offset = 10;
    assert_eq!(note(&mut lane, 1, 50).await, Ok(CommitOutcome::Fenced), "its place is not all that changed");
    let mut next = Lane::claim(subject, &definition).await;
    assert_eq!(next.next_offset, 10);
    assert!(is_applied(&note(&mut next, 1, 50).await));
}

pub(super) async fn no_checkpoint_goes_back_behind_what_is_parked(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    assert!(is_applied(&note(&mut lane, 3, 50).await));
    park(&mut lane, "a", 1).await;
    let (mut lead, operation) = accepting(subject).await;
    let to = |to, log_id: Option<&str>| {
        let to = Some((to, log_id.map(str::to_owned)));
        [CheckpointMove { generation: Generation(1), partition: lane.partition.clone(), to }]
    };
    let positions = subject.positions().await;
    for back in [to(3, None), to(0, Some("another"))] {
        let refused = lead.resume_at(&back, operation, "done").await.unwrap_err().to_string();
        assert!(
            refused.contains("1 records from this offset on are parked") && refused.contains("export"),
            "{refused}"
        );
    }
    assert_eq!(subject.positions().await, positions);
    lead.resume_at(&to(9, None), operation, "done").await.expect("nothing is parked from there on");
}

pub(super) async fn no_checkpoint_resumes_unless_the_operation_ends_with_it(subject: &Subject) {
    let definition = definition(counters());
    let [mut lane, gone] = two_lanes(subject, &definition).await;
    let (mut lead, operation) = accepting(subject).await;
    let to = |lane: &Lane, to| CheckpointMove { generation: Generation(1), partition: lane.partition.clone(), to };
    let moves = [to(&lane, Some((10, None))), to(&gone, None)];
    let positions = subject.positions().await;
    subject.refuse("UPDATE", "operations").await;
    assert!(lead.resume_at(&moves, operation, "done").await.is_err());
    subject.refuse_no_more("operations").await;
    assert_eq!(subject.positions().await, positions);
    assert!(is_applied(&note(&mut lane, 1, 50).await), "nobody was fenced");
    lead.resume_at(&moves, operation, "done").await.expect("the same lead can try again");
    assert_eq!(subject.positions().await, [(0, 10)]);
}

pub(super) async fn what_was_seen_of_a_part_of_the_log_that_is_lost_is_forgotten(subject: &Subject) {
    let definition = definition(counters());
    let mut lane = Lane::claim(subject, &definition).await;
    for offsets in [4, 4, 2] {
        assert!(is_applied(&note(&mut lane, offsets, 50).await));
    }
    let (mut lead, operation) = accepting(subject).await;
    let back = CheckpointMove { generation: Generation(1), partition: lane.partition.clone(), to: Some((6, None)) };
    lead.resume_at(&[back], operation, "the log was cut off").await.expect("it can be moved");
    let mut next = Lane::claim(subject, &definition).await;
    assert_eq!(recalled(&mut next, 50).await, [0, 1, 2, 3, 4, 5]);
    // What is written there now ends where pages ended before.
    for offsets in [2, 2] {
        let to = next.next_offset + offsets;
        let other = LedgerEntry::of_event(next.next_offset, b"another event", b"content");
        let page = LedgerPage { partition: next.partition.clone(), to, entries: vec![other], forget_to: 0 };
        assert!(is_applied(&next.step(offsets, Commit { ledger: vec![page], ..Commit::default() }).await));
    }
    assert_eq!(recalled(&mut next, 50).await, [0, 1, 2, 3, 4, 5]);
}
