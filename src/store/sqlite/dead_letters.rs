//! Dead letters: what is parked, what operators decided about it, and the ledger of event ids.

use std::collections::BTreeSet;

use readcast_core::TopicPartition;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row, Sqlite, SqliteConnection};

use super::connection::at;
use super::recorded;
use crate::source::Record;
use crate::store::dead_letter::{headers_from_bytes, headers_to_bytes};
use crate::store::{
    Amendment, Commit, DeadLetter, DuplicateWindow, Encoding, Generation, LedgerPage, ParkedCounts, ParkedIn,
    ParkedRecord, ParkedSequence, PartitionState, PoisonCause, PoisonClass, SequenceId, Settlement, StoreError,
    WaitingRecords, ledger,
};

type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// A statement about one partition of a generation, which its first four parameters name.
fn about(statement: &'static str, of: ParkedIn<'_>, partition: &TopicPartition) -> Query {
    let statement = sqlx::query(statement).bind(of.projection.to_owned()).bind(of.generation.0);
    statement.bind(partition.topic.to_string()).bind(partition.partition)
}

/// A reason as the other store can hold it too, and every client can show it.
fn shown(reason: &str) -> String {
    Encoding::Utf8.fit(reason).into_owned()
}

/// Parks the dead letters of a commit, within its transaction. Which limit they go beyond, if any.
pub(super) async fn park(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    commit: &Commit,
) -> Result<Option<String>, StoreError> {
    const PARK: &str = "
        INSERT INTO readcast_dead_letters
            (projection, generation, topic, partition, record_offset, sequence, record_key, record_value, headers,
             record_time, class, reason)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    for letter in &commit.dead_letters {
        let (record, cause) = (&letter.record, letter.cause.as_ref());
        about(PARK, of, &letter.partition)
            .bind(record.offset)
            .bind(letter.sequence.as_str().to_owned())
            .bind(record.key.as_ref().map(|key| key.to_vec()))
            .bind(record.value.as_ref().map(|value| value.to_vec()))
            .bind(headers_to_bytes(&record.headers))
            .bind(record.timestamp)
            .bind(cause.map(|cause| cause.class.name()))
            .bind(cause.map(|cause| shown(&cause.reason)))
            .execute(&mut *connection)
            .await
            .map_err(at("parking records"))?;
    }
    exceeded(connection, of, commit).await.map_err(at("counting parked records"))
}

async fn exceeded(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    commit: &Commit,
) -> sqlx::Result<Option<String>> {
    const ALL: &str = "SELECT count(*) FROM readcast_dead_letters WHERE projection = ?1 AND generation = ?2";
    const OF_ONE_KEY: &str = "
        SELECT count(*) FROM readcast_dead_letters
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4 AND sequence = ?5";
    let letters = commit.dead_letters.iter();
    let sequences: BTreeSet<_> = letters.map(|letter| (&letter.partition, letter.sequence.as_str())).collect();
    let mut most = 0;
    for (partition, sequence) in &sequences {
        let count = about(OF_ONE_KEY, of, partition).bind((*sequence).to_owned()).fetch_one(&mut *connection).await?;
        most = most.max(count.try_get(0)?);
    }
    if sequences.is_empty() {
        return Ok(None);
    }
    let all = sqlx::query_scalar(ALL).bind(of.projection).bind(of.generation.0).fetch_one(connection).await?;
    Ok(commit.parking_limits.exceeded(i64::unsigned_abs(all), i64::unsigned_abs(most)))
}

/// Writes the ledger's pages of a commit, within its transaction, and forgets those that are out of reach.
pub(super) async fn write_ledger(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    commit: &Commit,
) -> Result<(), StoreError> {
    const FORGET: &str = "
        DELETE FROM readcast_ledger
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4 AND to_offset <= ?5";
    for page in &commit.ledger {
        let forgotten = about(FORGET, of, &page.partition).bind(page.forget_to).execute(&mut *connection).await;
        forgotten.map_err(at("writing the ledger"))?;
        write_page(connection, of, page).await.map_err(at("writing the ledger"))?;
    }
    Ok(())
}

async fn write_page(connection: &mut SqliteConnection, of: ParkedIn<'_>, page: &LedgerPage) -> sqlx::Result<()> {
    const WRITE: &str = "
        INSERT INTO readcast_ledger (projection, generation, topic, partition, to_offset, entries)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    about(WRITE, of, &page.partition).bind(page.to).bind(page.to_bytes()).execute(connection).await.map(drop)
}

/// Takes the entries of offsets that the checkpoints have not come to out of the ledger: they are of another
/// generation, or of a part of the log that is lost.
pub(super) async fn cut_ledger(connection: &mut SqliteConnection, of: ParkedIn<'_>) -> Result<(), StoreError> {
    const BEYOND: &str = "
        SELECT topic, partition, next_offset, entries
        FROM readcast_ledger JOIN readcast_checkpoints USING (projection, generation, topic, partition)
        WHERE projection = ?1 AND generation = ?2 AND to_offset > next_offset";
    const FORGET: &str = "
        DELETE FROM readcast_ledger WHERE projection = ?1 AND generation = ?2 AND to_offset > (
            SELECT next_offset FROM readcast_checkpoints AS held
            WHERE held.projection = ?1 AND held.generation = ?2
              AND held.topic = readcast_ledger.topic AND held.partition = readcast_ledger.partition)";
    let cut = async {
        let pages = sqlx::query(BEYOND).bind(of.projection).bind(of.generation.0).fetch_all(&mut *connection).await?;
        sqlx::query(FORGET).bind(of.projection).bind(of.generation.0).execute(&mut *connection).await?;
        for row in pages {
            let to: i64 = row.try_get("next_offset")?;
            let entries = ledger::entries(row.try_get("entries")?).filter(|entry| entry.offset < to).collect();
            let page = LedgerPage { partition: partition(&row)?, to, entries, forget_to: i64::MIN };
            if !page.entries.is_empty() {
                write_page(connection, of, &page).await?;
            }
        }
        Ok(())
    };
    cut.await.map_err(at("cutting the ledger"))
}

/// What was decided earlier about the records of `partitions`. Runs within a transaction.
pub(super) async fn load_state(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    partitions: &[TopicPartition],
    window: i64,
) -> Result<Vec<(TopicPartition, PartitionState)>, StoreError> {
    const CHECKPOINT: &str = "
        SELECT next_offset, parking_epoch FROM readcast_checkpoints
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4";
    let recalled = async {
        let mut memories = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let row = about(CHECKPOINT, of, partition).fetch_optional(&mut *connection).await?;
            let Some(row) = row else { continue };
            let memory = PartitionState {
                parking_epoch: row.try_get("parking_epoch")?,
                parked: parked_in(connection, of, partition).await?,
                amendments: amendments(connection, of, partition).await?.into_iter().collect(),
                window: remembered(connection, of, partition, row.try_get("next_offset")?, window).await?,
            };
            memories.push((partition.clone(), memory));
        }
        Ok(memories)
    };
    recalled.await.map_err(at("recalling what is parked"))
}

async fn parked_in(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    partition: &TopicPartition,
) -> sqlx::Result<BTreeSet<SequenceId>> {
    const PARKED: &str = "
        SELECT DISTINCT sequence FROM readcast_dead_letters
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4";
    let rows = about(PARKED, of, partition).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get("sequence").map(SequenceId::recorded)).collect()
}

async fn amendments(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    partition: &TopicPartition,
) -> sqlx::Result<Vec<(i64, Amendment)>> {
    const AMENDMENTS: &str = "
        SELECT record_offset, action, value FROM readcast_amendments
        WHERE projection = ?1 AND topic = ?2 AND partition = ?3";
    let query = sqlx::query(AMENDMENTS).bind(of.projection).bind(&*partition.topic).bind(partition.partition);
    let amendment = |row: &SqliteRow| {
        let amendment = Amendment::recorded(row.try_get("action")?, row.try_get("value")?);
        Ok(amendment.map(|amendment| Ok((row.try_get("record_offset")?, amendment))))
    };
    let rows = query.fetch_all(connection).await?;
    rows.iter().filter_map(|row| amendment(row).and_then(Option::transpose).transpose()).collect()
}

/// The ids of the last `window` offsets before `next_offset`.
async fn remembered(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    partition: &TopicPartition,
    next_offset: i64,
    window: i64,
) -> sqlx::Result<DuplicateWindow> {
    const PAGES: &str = "
        SELECT entries FROM readcast_ledger
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4 AND to_offset > ?5
        ORDER BY to_offset";
    let mut remembered = DuplicateWindow::new(window);
    if window > 0 {
        for row in about(PAGES, of, partition).bind(next_offset - window).fetch_all(connection).await? {
            ledger::entries(row.try_get("entries")?).for_each(|entry| remembered.add(entry));
        }
    }
    Ok(remembered)
}

/// How much is parked in a generation.
pub(super) async fn count(connection: &mut SqliteConnection, of: ParkedIn<'_>) -> Result<ParkedCounts, StoreError> {
    const COUNT: &str = "
        SELECT count(*) AS keys, coalesce(sum(records), 0) AS records, min(oldest) AS oldest,
            (SELECT count(*) FROM readcast_dead_letters
             WHERE projection = ?1 AND generation = ?2 AND copied_at IS NULL
               AND (copy_after IS NULL OR copy_after <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))) AS uncopied,
            (SELECT count(*) FROM readcast_dead_letters
             WHERE projection = ?1 AND generation = ?2 AND copied_at IS NULL
               AND copy_error IS NOT NULL) AS uncopyable
        FROM (SELECT count(*) AS records, min(parked_at) AS oldest FROM readcast_dead_letters
              WHERE projection = ?1 AND generation = ?2 GROUP BY topic, partition, sequence)";
    let row = sqlx::query(COUNT).bind(of.projection).bind(of.generation.0).fetch_one(connection).await;
    let parked = |row: SqliteRow| {
        Ok(ParkedCounts {
            keys: row.try_get::<i64, _>("keys")?.unsigned_abs(),
            records: row.try_get::<i64, _>("records")?.unsigned_abs(),
            uncopied: row.try_get::<i64, _>("uncopied")?.unsigned_abs(),
            uncopyable: row.try_get::<i64, _>("uncopyable")?.unsigned_abs(),
            oldest: row.try_get("oldest")?,
        })
    };
    row.and_then(parked).map_err(at("counting what is parked"))
}

/// The sequences that are parked. Beside one `min`, SQLite takes the other columns from the row where that is found.
pub(super) async fn parked(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
) -> Result<Vec<ParkedSequence>, StoreError> {
    const SEQUENCES: &str = "
        SELECT topic, partition, sequence, record_key, min(record_offset) AS first_offset, class, reason, attempts,
            parked_at, count(*) AS records,
            sum(coalesce(length(record_key), 0) + coalesce(length(record_value), 0)
                + coalesce(length(headers), 0)) AS bytes
        FROM readcast_dead_letters WHERE projection = ?1 AND generation = ?2
        GROUP BY topic, partition, sequence ORDER BY topic, partition, first_offset";
    let rows = sqlx::query(SEQUENCES).bind(of.projection).bind(of.generation.0).fetch_all(connection).await;
    rows.and_then(|rows| rows.iter().map(sequence).collect()).map_err(at("reading what is parked"))
}

fn sequence(row: &SqliteRow) -> sqlx::Result<ParkedSequence> {
    Ok(ParkedSequence {
        partition: partition(row)?,
        id: SequenceId::recorded(row.try_get("sequence")?),
        key: row.try_get::<Option<Vec<u8>>, _>("record_key")?.map(Into::into),
        first_offset: row.try_get("first_offset")?,
        cause: cause(row)?,
        attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
        since: row.try_get("parked_at")?,
        records: row.try_get::<i64, _>("records")?.unsigned_abs(),
        bytes: row.try_get::<i64, _>("bytes")?.unsigned_abs(),
    })
}

/// The next records of a sequence. Runs within a transaction, so that the epoch is theirs.
pub(super) async fn waiting(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    partition: &TopicPartition,
    sequence: &SequenceId,
    from: i64,
    most: usize,
) -> Result<WaitingRecords, StoreError> {
    const EPOCH: &str = "
        SELECT parking_epoch FROM readcast_checkpoints
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4";
    const WAITING: &str = "
        SELECT topic, partition, record_offset, sequence, record_key, record_value, headers, record_time, class, reason,
            attempts, parked_at
        FROM readcast_dead_letters
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4
          AND sequence = ?5 AND record_offset >= ?6
        ORDER BY record_offset LIMIT ?7";
    let read = async {
        let epoch = about(EPOCH, of, partition).fetch_optional(&mut *connection).await?;
        let records = about(WAITING, of, partition)
            .bind(sequence.as_str().to_owned())
            .bind(from)
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await?;
        Ok(WaitingRecords {
            parking_epoch: epoch.map(|row| row.try_get(0)).transpose()?.unwrap_or_default(),
            records: records.iter().map(record).collect::<sqlx::Result<_>>()?,
        })
    };
    read.await.map_err(at("reading parked records"))
}

/// Dead letters that were not copied to their topic yet.
pub(super) async fn uncopied(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    most: usize,
) -> Result<Vec<ParkedRecord>, StoreError> {
    const UNCOPIED: &str = "
        SELECT topic, partition, record_offset, sequence, record_key, record_value, headers, record_time, class, reason,
            attempts, parked_at
        FROM readcast_dead_letters WHERE projection = ?1 AND generation = ?2 AND copied_at IS NULL
          AND (copy_after IS NULL OR copy_after <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
        ORDER BY topic, partition, record_offset LIMIT ?3";
    let query = sqlx::query(UNCOPIED).bind(of.projection).bind(of.generation.0);
    let rows = query.bind(i64::try_from(most).unwrap_or(i64::MAX)).fetch_all(connection).await;
    rows.and_then(|rows| rows.iter().map(record).collect()).map_err(at("reading dead letters to copy"))
}

/// Notes that these could not be copied, and when they are tried again.
pub(super) async fn note_uncopyable(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    letters: &[((TopicPartition, i64), String)],
) -> Result<(), StoreError> {
    const UNCOPYABLE: &str = "
        UPDATE readcast_dead_letters
        SET copy_error = ?6, copy_attempts = copy_attempts + 1,
            copy_after = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', min(1 << min(copy_attempts, 10), 60) || ' minutes')
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4 AND record_offset = ?5";
    for ((partition, offset), reason) in letters {
        let noted = about(UNCOPYABLE, of, partition).bind(*offset).bind(reason.clone());
        noted.execute(&mut *connection).await.map_err(at("noting what can't be copied"))?;
    }
    Ok(())
}

/// The dead letters that could not be copied, and why.
pub(super) async fn uncopyable(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
) -> Result<Vec<((TopicPartition, i64), String)>, StoreError> {
    const UNCOPYABLE: &str = "
        SELECT topic, partition, record_offset, copy_error FROM readcast_dead_letters
        WHERE projection = ?1 AND generation = ?2 AND copied_at IS NULL AND copy_error IS NOT NULL
        ORDER BY topic, partition, record_offset";
    let rows = sqlx::query(UNCOPYABLE).bind(of.projection).bind(of.generation.0).fetch_all(connection).await;
    let letter = |row: &SqliteRow| {
        Ok(((partition(row)?, row.try_get("record_offset")?), row.try_get::<String, _>("copy_error")?))
    };
    let letters = rows.and_then(|rows| rows.iter().map(letter).collect());
    letters.map_err(at("reading what can't be copied"))
}

/// Notes that these were copied.
pub(super) async fn note_copied(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    letters: &[(TopicPartition, i64)],
) -> Result<(), StoreError> {
    const COPIED: &str = "
        UPDATE readcast_dead_letters SET copied_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), copy_error = NULL
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4 AND record_offset = ?5";
    for (partition, offset) in letters {
        let noted = about(COPIED, of, partition).bind(offset).execute(&mut *connection).await;
        noted.map_err(at("noting what was copied"))?;
    }
    Ok(())
}

fn record(row: &SqliteRow) -> sqlx::Result<ParkedRecord> {
    let bytes = |column: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<Vec<u8>>, _>(column)?.map(Into::into));
    let headers: Option<Vec<u8>> = row.try_get("headers")?;
    Ok(ParkedRecord {
        letter: DeadLetter {
            partition: partition(row)?,
            record: Record {
                offset: row.try_get("record_offset")?,
                key: bytes("record_key")?,
                value: bytes("record_value")?,
                headers: headers_from_bytes(headers.as_deref().unwrap_or_default()),
                timestamp: row.try_get("record_time")?,
                remark: None,
            },
            sequence: SequenceId::recorded(row.try_get("sequence")?),
            cause: cause(row)?,
        },
        attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
        parked_at: row.try_get("parked_at")?,
    })
}

fn cause(row: &SqliteRow) -> sqlx::Result<Option<PoisonCause>> {
    let class = recorded::named_if_any(row, "class", PoisonClass::named)?;
    let reason: Option<String> = row.try_get("reason")?;
    Ok(class.map(|class| PoisonCause::new(class, reason.unwrap_or_default())))
}

fn partition(row: &SqliteRow) -> sqlx::Result<TopicPartition> {
    Ok(TopicPartition::new(row.try_get::<&str, _>("topic")?, row.try_get("partition")?))
}

/// Raises the parking epoch of the partition in every generation, provided that it is the expected one in ours. The
/// next commit of the partition's owner was planned with an outdated one.
pub(super) async fn raise_epoch(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    settlement: &Settlement,
) -> Result<bool, StoreError> {
    const RAISE: &str = "
        UPDATE readcast_checkpoints SET parking_epoch = parking_epoch + 1
        WHERE projection = ?1 AND topic = ?3 AND partition = ?4 AND (generation <> ?2 OR parking_epoch = ?5)
        RETURNING generation";
    let raise = about(RAISE, of, &settlement.partition).bind(settlement.parking_epoch).fetch_all(connection).await;
    let raised = raise.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<Vec<i32>>>());
    Ok(raised.map_err(at("locking what is parked"))?.contains(&of.generation.0))
}

/// Takes settled records away, notes which one failed, and remembers what the operator decided.
pub(super) async fn settle(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    settlement: &Settlement,
) -> Result<(), StoreError> {
    const SETTLED: &str = "
        DELETE FROM readcast_dead_letters
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4
          AND record_offset IN (SELECT value FROM json_each(?5))";
    const FAILED: &str = "
        UPDATE readcast_dead_letters SET attempts = attempts + 1, class = ?6, reason = ?7
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4 AND record_offset = ?5";
    let partition = &settlement.partition;
    let settled = async {
        amend(connection, of, settlement).await?;
        let offsets = recorded::text(&settlement.settled);
        about(SETTLED, of, partition).bind(offsets).execute(&mut *connection).await?;
        if let Some((offset, cause)) = &settlement.failed {
            let failed = about(FAILED, of, partition).bind(*offset);
            failed.bind(cause.class.name()).bind(shown(&cause.reason)).execute(connection).await?;
        }
        Ok(())
    };
    settled.await.map_err(at("settling what is parked"))
}

async fn amend(connection: &mut SqliteConnection, of: ParkedIn<'_>, settlement: &Settlement) -> sqlx::Result<()> {
    const AMEND: &str = "
        INSERT INTO readcast_amendments (projection, topic, partition, record_offset, action, value, original, made_by)
        VALUES (?1, ?3, ?4, ?5, ?6, ?7, (
            SELECT record_value FROM readcast_dead_letters
            WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4 AND record_offset = ?5), ?8)
        ON CONFLICT (projection, topic, partition, record_offset) DO UPDATE
        SET action = excluded.action, value = excluded.value, made_by = excluded.made_by, made_at = excluded.made_at";
    for (offset, amendment) in &settlement.amendments {
        about(AMEND, of, &settlement.partition)
            .bind(*offset)
            .bind(amendment.action())
            .bind(amendment.value().map(|value| value.to_vec()))
            .bind(settlement.by.clone())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Takes what is parked before the checkpoints of `generation`, and the ledger, from the one it is a copy of.
pub(super) async fn copy(
    connection: &mut SqliteConnection,
    projection: &str,
    from: Generation,
    to: Generation,
) -> Result<(), StoreError> {
    const LETTERS: &str = "
        INSERT INTO readcast_dead_letters
            (projection, generation, topic, partition, record_offset, sequence, record_key, record_value, headers,
             record_time, class, reason, attempts, parked_at)
        SELECT d.projection, ?3, d.topic, d.partition, record_offset, sequence, record_key, record_value, headers,
            record_time, class, reason, attempts, parked_at
        FROM readcast_dead_letters AS d JOIN readcast_checkpoints AS ours
            ON ours.projection = ?1 AND ours.generation = ?3 AND ours.topic = d.topic AND ours.partition = d.partition
        WHERE d.projection = ?1 AND d.generation = ?2 AND d.record_offset < ours.next_offset";
    const LEDGER: &str = "
        INSERT INTO readcast_ledger (projection, generation, topic, partition, to_offset, entries)
        SELECT projection, ?3, topic, partition, to_offset, entries
        FROM readcast_ledger WHERE projection = ?1 AND generation = ?2";
    for statement in [LETTERS, LEDGER] {
        let copied = sqlx::query(statement).bind(projection).bind(from.0).bind(to.0).execute(&mut *connection).await;
        copied.map_err(at("copying what is parked"))?;
    }
    cut_ledger(connection, ParkedIn { projection, generation: to }).await
}
