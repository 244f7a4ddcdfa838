//! Parked records: their numbers, their sequences, and those that are not yet copied to a topic of dead letters.

use std::collections::{BTreeMap, BTreeSet};

use readcast_core::TopicPartition;

use super::partition;
use crate::source::Record;
use crate::store::dead_letter::headers_from_bytes;
use crate::store::session::{Row, Session, count, values};
use crate::store::{
    Amendment, Commit, DeadLetter, Decision, Generation, ParkedCounts, ParkedIn, ParkedRecord, ParkedSequence,
    PoisonCause, PoisonClass, SequenceId, StoreError, WaitingRecords,
};

/// The limit that the parked records exceed after the dead letters of a commit are written. `None` if there is none.
pub(in crate::store) async fn exceeded(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    commit: &Commit,
) -> Result<Option<String>, StoreError> {
    const COUNT: &str = "
        SELECT (SELECT count(*) FROM readcast.dead_letters WHERE projection = $1 AND generation = $2) AS records,
               coalesce((SELECT max(records) FROM (
                    SELECT count(*) AS records FROM readcast.dead_letters
                    WHERE projection = $1 AND generation = $2 AND (topic, partition, sequence) IN (
                        SELECT e.value ->> 0, CAST(e.value ->> 1 AS integer), e.value ->> 2 FROM elements($3) AS e)
                    GROUP BY topic, partition, sequence) AS sequences), 0) AS of_one_key";
    if commit.dead_letters.is_empty() {
        return Ok(None);
    }
    let sequence = |letter: &DeadLetter| {
        (letter.partition.topic.to_string(), letter.partition.partition, letter.sequence.as_str().to_owned())
    };
    let sequences: BTreeSet<_> = commit.dead_letters.iter().map(sequence).collect();
    let values = values![of.projection, of.generation, session.fit_json(&sequences)];
    let row = session.fetch_one("counting parked records", COUNT, values).await?;
    Ok(commit.parking_limits.exceeded(row.count("records")?, row.count("of_one_key")?))
}

/// The numbers of parked records of each generation, of one projection or of all.
pub(in crate::store) async fn counts(
    session: &mut dyn Session,
    projection: Option<&str>,
) -> Result<BTreeMap<(String, Generation), ParkedCounts>, StoreError> {
    let filter = if projection.is_some() { "WHERE projection = $1" } else { "" };
    let counts = format!(
        "SELECT projection, generation, count(*) AS keys, CAST(sum(records) AS bigint) AS records,
                CAST(sum(uncopied) AS bigint) AS uncopied, CAST(sum(uncopyable) AS bigint) AS uncopyable,
                rfc3339(min(oldest)) AS oldest
         FROM (SELECT projection, generation, count(*) AS records, count(*) FILTER (WHERE {TO_COPY}) AS uncopied,
                      count(*) FILTER (WHERE copied_at IS NULL AND copy_error IS NOT NULL) AS uncopyable,
                      min(parked_at) AS oldest
               FROM readcast.dead_letters {filter}
               GROUP BY projection, generation, topic, partition, sequence) AS sequences
         GROUP BY projection, generation"
    );
    let values = projection.map(|projection| values![projection]).unwrap_or_default();
    let rows = session.fetch("counting what is parked", &counts, values).await?;
    let count = |row: &Row| {
        let parked = ParkedCounts {
            keys: row.count("keys")?,
            records: row.count("records")?,
            uncopied: row.count("uncopied")?,
            uncopyable: row.count("uncopyable")?,
            oldest: row.get("oldest")?,
        };
        Ok(((row.get("projection")?, Generation(row.get("generation")?)), parked))
    };
    rows.iter().map(count).collect()
}

/// The parked sequences, ordered by partition and first offset.
pub(in crate::store) async fn sequences(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
) -> Result<Vec<ParkedSequence>, StoreError> {
    const SEQUENCES: &str = "
        SELECT d.topic, d.partition, d.sequence, record_key, record_offset, class, reason, attempts,
               rfc3339(parked_at) AS parked_at, records, bytes
        FROM (SELECT topic, partition, sequence, min(record_offset) AS first_offset, count(*) AS records,
                     sum(coalesce(length(record_key), 0) + coalesce(length(record_value), 0)
                         + coalesce(length(headers), 0)) AS bytes
              FROM readcast.dead_letters WHERE projection = $1 AND generation = $2
              GROUP BY topic, partition, sequence) AS sequences
        JOIN readcast.dead_letters AS d ON d.projection = $1 AND d.generation = $2 AND d.topic = sequences.topic
            AND d.partition = sequences.partition AND d.record_offset = sequences.first_offset";
    let rows = session.fetch("reading what is parked", SEQUENCES, values![of.projection, of.generation]).await?;
    let mut parked: Vec<_> = rows.iter().map(sequence).collect::<Result<_, _>>()?;
    parked.sort_by(|a, b| (&a.partition, a.first_offset).cmp(&(&b.partition, b.first_offset)));
    Ok(parked)
}

fn sequence(row: &Row) -> Result<ParkedSequence, StoreError> {
    Ok(ParkedSequence {
        partition: partition(row)?,
        id: SequenceId::recorded(row.get("sequence")?),
        key: row.get::<Option<Vec<u8>>>("record_key")?.map(Into::into),
        first_offset: row.get("record_offset")?,
        cause: cause(row)?,
        attempts: row.get::<i32>("attempts")?.unsigned_abs(),
        since: row.get("parked_at")?,
        records: row.count("records")?,
        bytes: row.count("bytes")?,
    })
}

/// The columns from which a decision is read.
const DECISION: &str =
    "topic, partition, record_offset, action, value, made_by, a.reason AS why, rfc3339(made_at) AS at";

/// The decisions of operators about the projection's records.
pub(in crate::store) async fn decisions(
    session: &mut dyn Session,
    projection: &str,
) -> Result<Vec<Decision>, StoreError> {
    let all = format!(
        "SELECT {DECISION} FROM readcast.amendments AS a WHERE projection = $1 ORDER BY topic, partition, record_offset"
    );
    let rows = session.fetch("reading what operators decided", &all, values![projection]).await?;
    rows.iter().filter_map(|row| decision(row).transpose()).collect()
}

/// The decisions of operators about records that are still parked in the generation.
pub(in crate::store) async fn open_decisions(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
) -> Result<Vec<Decision>, StoreError> {
    let open = format!(
        "SELECT {DECISION}
         FROM readcast.amendments AS a JOIN readcast.dead_letters USING (projection, topic, partition, record_offset)
         WHERE projection = $1 AND generation = $2 ORDER BY topic, partition, record_offset"
    );
    let rows = session.fetch("reading what operators decided", &open, values![of.projection, of.generation]).await?;
    rows.iter().filter_map(|row| decision(row).transpose()).collect()
}

/// `None` for a decision that only a later version knows.
fn decision(row: &Row) -> Result<Option<Decision>, StoreError> {
    let Some(amendment) = Amendment::recorded(&row.get::<String>("action")?, row.get("value")?) else {
        return Ok(None);
    };
    Ok(Some(Decision {
        position: partition(row)?.at(row.get("record_offset")?),
        amendment,
        by: row.get("made_by")?,
        reason: row.get("why")?,
        at: row.get("at")?,
    }))
}

/// The columns from which a parked record is read.
const RECORD: &str =
    "topic, partition, record_offset, sequence, record_key, record_value, headers, record_time, class, reason,
    attempts, rfc3339(parked_at) AS parked_at";

/// The next records of a sequence. The epoch is read first: a change during the other reads makes it outdated, and a
/// settlement with an outdated epoch is refused.
pub(in crate::store) async fn waiting(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    partition: &TopicPartition,
    sequence: &SequenceId,
    from: i64,
    most: usize,
) -> Result<WaitingRecords, StoreError> {
    const READING: &str = "reading parked records";
    const EPOCH: &str = "
        SELECT parking_epoch FROM readcast.checkpoints
        WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4";
    let waiting = format!(
        "SELECT {RECORD} FROM readcast.dead_letters
         WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4
           AND sequence = $5 AND record_offset >= $6
         ORDER BY record_offset LIMIT $7"
    );
    let held = values![of.projection, of.generation, &*partition.topic, partition.partition];
    let epoch = session.fetch_optional(READING, EPOCH, held.clone()).await?;
    let values = [held, values![sequence.as_str(), from, count(most)]].concat();
    let rows = session.fetch(READING, &waiting, values).await?;
    Ok(WaitingRecords {
        parking_epoch: epoch.map(|row| row.get("parking_epoch")).transpose()?.unwrap_or_default(),
        records: rows.iter().map(record).collect::<Result<_, _>>()?,
    })
}

/// SQL condition that a dead letter is due to be copied to its topic.
const TO_COPY: &str = "copied_at IS NULL AND (copy_after IS NULL OR copy_after <= in_seconds(0))";

/// The dead letters that are due to be copied to their topic, at most `most`.
pub(in crate::store) async fn uncopied(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    most: usize,
) -> Result<Vec<ParkedRecord>, StoreError> {
    let uncopied = format!(
        "SELECT {RECORD} FROM readcast.dead_letters
         WHERE projection = $1 AND generation = $2 AND {TO_COPY} ORDER BY topic, partition, record_offset LIMIT $3"
    );
    let values = values![of.projection, of.generation, count(most)];
    let rows = session.fetch("reading dead letters to copy", &uncopied, values).await?;
    rows.iter().map(record).collect()
}

/// Records that these dead letters were copied.
pub(in crate::store) async fn note_copied(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    letters: &[(TopicPartition, i64)],
) -> Result<(), StoreError> {
    const COPIED: &str = "
        UPDATE readcast.dead_letters SET copied_at = now(), copy_error = NULL
        WHERE projection = $1 AND generation = $2 AND (topic, partition, record_offset) IN (
            SELECT e.value ->> 0, CAST(e.value ->> 1 AS integer), CAST(e.value ->> 2 AS bigint)
            FROM elements($3) AS e)";
    let places: Vec<_> = letters.iter().map(|(partition, offset)| place(partition, *offset)).collect();
    let values = values![of.projection, of.generation, session.fit_json(&places)];
    session.execute("recording what was copied", COPIED, values).await.map(drop)
}

fn place(partition: &TopicPartition, offset: i64) -> (&str, i32, i64) {
    (&partition.topic, partition.partition, offset)
}

/// Records that these dead letters could not be copied, with the reasons. They are retried after a minute. Each further
/// wait is twice as long, up to an hour.
pub(in crate::store) async fn note_uncopyable(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
    letters: &[((TopicPartition, i64), String)],
) -> Result<(), StoreError> {
    const UNCOPYABLE: &str = "
        UPDATE readcast.dead_letters AS held
        SET copy_error = e.value ->> 3, copy_attempts = copy_attempts + 1,
            copy_after = in_seconds(60 * CASE WHEN copy_attempts < 6 THEN 1 << copy_attempts ELSE 60 END)
        FROM elements($3) AS e
        WHERE held.projection = $1 AND held.generation = $2 AND held.topic = e.value ->> 0
          AND held.partition = CAST(e.value ->> 1 AS integer) AND held.record_offset = CAST(e.value ->> 2 AS bigint)";
    let refused = letters.iter().map(|((partition, offset), reason)| {
        let (topic, partition, offset) = place(partition, *offset);
        (topic, partition, offset, session.fit(reason))
    });
    let refused: Vec<_> = refused.collect();
    let values = values![of.projection, of.generation, session.fit_json(&refused)];
    session.execute("recording what can't be copied", UNCOPYABLE, values).await.map(drop)
}

/// The dead letters that could not be copied, with the reasons.
pub(in crate::store) async fn uncopyable(
    session: &mut dyn Session,
    of: ParkedIn<'_>,
) -> Result<Vec<((TopicPartition, i64), String)>, StoreError> {
    const UNCOPYABLE: &str = "
        SELECT topic, partition, record_offset, copy_error FROM readcast.dead_letters
        WHERE projection = $1 AND generation = $2 AND copied_at IS NULL AND copy_error IS NOT NULL
        ORDER BY topic, partition, record_offset";
    let values = values![of.projection, of.generation];
    let rows = session.fetch("reading what can't be copied", UNCOPYABLE, values).await?;
    rows.iter().map(|row| Ok(((partition(row)?, row.get("record_offset")?), row.get("copy_error")?))).collect()
}

fn record(row: &Row) -> Result<ParkedRecord, StoreError> {
    let bytes = |column| Ok::<_, StoreError>(row.get::<Option<Vec<u8>>>(column)?.map(Into::into));
    let headers: Option<Vec<u8>> = row.get("headers")?;
    Ok(ParkedRecord {
        letter: DeadLetter {
            partition: partition(row)?,
            record: Record {
                offset: row.get("record_offset")?,
                key: bytes("record_key")?,
                value: bytes("record_value")?,
                headers: headers_from_bytes(headers.as_deref().unwrap_or_default()),
                timestamp: row.get("record_time")?,
                remark: None,
            },
            sequence: SequenceId::recorded(row.get("sequence")?),
            cause: cause(row)?,
            affected: Vec::new(),
        },
        attempts: row.get::<i32>("attempts")?.unsigned_abs(),
        parked_at: row.get("parked_at")?,
    })
}

fn cause(row: &Row) -> Result<Option<PoisonCause>, StoreError> {
    let class = row.named_if_any("class", PoisonClass::named)?;
    let reason: Option<String> = row.get("reason")?;
    Ok(class.map(|class| PoisonCause::new(class, reason.unwrap_or_default())))
}
