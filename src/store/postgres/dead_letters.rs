//! Dead letters: what is parked, and what operators decided about it.

use std::collections::BTreeMap;

use readcast_core::TopicPartition;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Reasons;
use super::connection::{at, is_of_a_text};
use super::hints::Hints;
use super::sql::TIME;
use crate::source::Record;
use crate::store::dead_letter::{headers_from_bytes, headers_to_bytes};
use crate::store::{
    Amendment, Commit, DeadLetter, DuplicateWindow, Encoding, Generation, LedgerPage, ParkedCounts, ParkedIn,
    ParkedRecord, ParkedSequence, ParkingLimits, PartitionState, PoisonCause, PoisonClass, SequenceId, Settlement,
    StoreError, WaitingRecords, ledger,
};

/// What became of dead letters that were to be parked.
pub(super) enum Parking {
    Done,
    /// They go beyond this limit.
    Full(String),
    /// The database can't hold the reason of one of them.
    ReasonsRefused,
}

/// What is written where the database refuses the reason.
const WITHHELD: &str = "the reason can't be stored in this database; the log of the process has the class";

/// Parks the dead letters of a commit, within its transaction.
pub(super) async fn park(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    commit: &Commit,
    reasons: Reasons,
) -> Result<Parking, StoreError> {
    const PARK: &str = "
        INSERT INTO readcast.dead_letters
            (projection, generation, topic, partition, record_offset, sequence, record_key, record_value, headers,
             record_time, class, reason)
        SELECT $1, $2, new.* FROM unnest($3::text[], $4::int4[], $5::int8[], $6::text[], $7::bytea[], $8::bytea[],
                                         $9::bytea[], $10::int8[], $11::text[], $12::text[]) AS new";
    let letters = &commit.dead_letters;
    if letters.is_empty() {
        return Ok(Parking::Done);
    }
    let class = |letter: &DeadLetter| letter.cause.as_ref().map(|cause| cause.class.name());
    let reason = |letter: &DeadLetter| {
        let cause = letter.cause.as_ref()?;
        Some(match reasons {
            Reasons::AsTold(encoding) => encoding.fit(&cause.reason).into_owned(),
            Reasons::Withheld => WITHHELD.to_owned(),
        })
    };
    let parked = sqlx::query(PARK)
        .bind(of.projection)
        .bind(of.generation.0)
        .bind(column(letters, |letter| letter.partition.topic.to_string()))
        .bind(column(letters, |letter| letter.partition.partition))
        .bind(column(letters, |letter| letter.record.offset))
        .bind(column(letters, |letter| letter.sequence.as_str().to_owned()))
        .bind(column(letters, |letter| letter.record.key.as_ref().map(|key| key.to_vec())))
        .bind(column(letters, |letter| letter.record.value.as_ref().map(|value| value.to_vec())))
        .bind(column(letters, |letter| headers_to_bytes(&letter.record.headers)))
        .bind(column(letters, |letter| letter.record.timestamp))
        .bind(column(letters, class))
        .bind(column(letters, reason))
        .execute(&mut *connection)
        .await;
    match parked {
        Err(error) if is_of_a_text(&error) && reasons != Reasons::Withheld => return Ok(Parking::ReasonsRefused),
        parked => parked.map_err(at("parking records"))?,
    };
    let exceeded = exceeded(connection, of, letters, commit.parking_limits).await?;
    Ok(exceeded.map_or(Parking::Done, Parking::Full))
}

fn column<T>(letters: &[DeadLetter], value: impl FnMut(&DeadLetter) -> T) -> Vec<T> {
    letters.iter().map(value).collect()
}

async fn exceeded(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    letters: &[DeadLetter],
    limits: ParkingLimits,
) -> Result<Option<String>, StoreError> {
    const COUNT: &str = "
        SELECT (SELECT count(*) FROM readcast.dead_letters WHERE projection = $1 AND generation = $2),
               (SELECT max(records) FROM (
                    SELECT count(*) AS records FROM readcast.dead_letters
                    WHERE projection = $1 AND generation = $2 AND (topic, partition, sequence) IN
                        (SELECT * FROM unnest($3::text[], $4::int4[], $5::text[]))
                    GROUP BY topic, partition, sequence) AS sequences)";
    let counted = sqlx::query_as(COUNT)
        .bind(of.projection)
        .bind(of.generation.0)
        .bind(column(letters, |letter| letter.partition.topic.to_string()))
        .bind(column(letters, |letter| letter.partition.partition))
        .bind(column(letters, |letter| letter.sequence.as_str().to_owned()))
        .fetch_one(connection)
        .await;
    let (all, of_one_key): (i64, Option<i64>) = counted.map_err(at("counting parked records"))?;
    Ok(limits.exceeded(all.unsigned_abs(), of_one_key.unwrap_or(0).unsigned_abs()))
}

/// Writes the ledger's pages of a commit, within its transaction, and forgets those that are out of reach.
pub(super) async fn write_ledger(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    commit: &Commit,
    hints: &mut Hints,
) -> Result<(), StoreError> {
    if commit.ledger.is_empty() {
        return Ok(());
    }
    let forgotten: Vec<i64> = commit.ledger.iter().map(|page| hints.forget(page)).collect();
    write_pages(connection, of, &commit.ledger, &forgotten).await.map_err(at("writing the ledger"))
}

/// Writes pages, and forgets those before them; up to `forgotten` there are none. (An index leads to deleted ones as well,
/// as long as anybody might still see them. So each is looked up by all columns of it: what the planner does not know the
/// value of, it can't choose to look through.)
async fn write_pages(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    pages: &[LedgerPage],
    forgotten: &[i64],
) -> sqlx::Result<()> {
    const WRITE: &str = "
        WITH pages AS MATERIALIZED (
            SELECT $1::text AS projection, $2::int4 AS generation, page.*
            FROM unnest($3::text[], $4::int4[], $5::int8[], $6::bytea[], $7::int8[], $8::int8[])
                AS page(topic, partition, to_offset, entries, forget_to, forgotten)),
        forgotten AS (
            DELETE FROM readcast.ledger AS held USING pages
            WHERE held.projection = pages.projection AND held.generation = pages.generation
              AND held.topic = pages.topic AND held.partition = pages.partition
              AND held.to_offset > pages.forgotten AND held.to_offset <= pages.forget_to)
        INSERT INTO readcast.ledger (projection, generation, topic, partition, to_offset, entries)
        SELECT projection, generation, topic, partition, to_offset, entries FROM pages";
    sqlx::query(WRITE)
        .bind(of.projection)
        .bind(of.generation.0)
        .bind(pages.iter().map(|page| page.partition.topic.to_string()).collect::<Vec<_>>())
        .bind(pages.iter().map(|page| page.partition.partition).collect::<Vec<_>>())
        .bind(pages.iter().map(|page| page.to).collect::<Vec<_>>())
        .bind(pages.iter().map(LedgerPage::to_bytes).collect::<Vec<_>>())
        .bind(pages.iter().map(|page| page.forget_to).collect::<Vec<_>>())
        .bind(forgotten)
        .execute(connection)
        .await
        .map(drop)
}

/// Takes the entries of offsets that the checkpoints have not come to out of the ledger: they are of another
/// generation, or of a part of the log that is lost.
pub(super) async fn cut_ledger(connection: &mut PgConnection, of: ParkedIn<'_>) -> Result<(), StoreError> {
    const BEYOND: &str = "
        DELETE FROM readcast.ledger AS page USING readcast.checkpoints AS held
        WHERE page.projection = $1 AND page.generation = $2 AND held.projection = $1 AND held.generation = $2
          AND held.topic = page.topic AND held.partition = page.partition AND page.to_offset > held.next_offset
        RETURNING page.topic, page.partition, page.entries, held.next_offset";
    let cut = async {
        let pages = sqlx::query(BEYOND).bind(of.projection).bind(of.generation.0).fetch_all(&mut *connection).await?;
        let mut before = Vec::new();
        for row in pages {
            let to: i64 = row.try_get("next_offset")?;
            let entries = ledger::entries(row.try_get("entries")?).filter(|entry| entry.offset < to).collect();
            before.push(LedgerPage { partition: partition(&row)?, to, entries, forget_to: i64::MIN });
        }
        before.retain(|page| !page.entries.is_empty());
        write_pages(connection, of, &before, &vec![i64::MIN; before.len()]).await
    };
    cut.await.map_err(at("cutting the ledger"))
}

/// What was decided earlier about the records of `partitions`. The epochs are read first: whatever is changed while the
/// rest is read makes them outdated, and the commit that is planned with it is refused.
pub(super) async fn load_state(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    partitions: &[TopicPartition],
    window: i64,
) -> Result<Vec<(TopicPartition, PartitionState)>, StoreError> {
    let recalled = async {
        let mut memories = epochs(connection, of, partitions, window).await?;
        add_parked(connection, of, &mut memories).await?;
        add_amendments(connection, of, &mut memories).await?;
        if window > 0 {
            add_ledger(connection, of, window, &mut memories).await?;
        }
        Ok(memories.into_iter().collect())
    };
    recalled.await.map_err(at("recalling what is parked"))
}

type PartitionStates = BTreeMap<TopicPartition, PartitionState>;

async fn epochs(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    partitions: &[TopicPartition],
    window: i64,
) -> sqlx::Result<PartitionStates> {
    const EPOCHS: &str = "
        SELECT topic, partition, parking_epoch FROM readcast.checkpoints
        WHERE projection = $1 AND generation = $2
          AND (topic, partition) IN (SELECT * FROM unnest($3::text[], $4::int4[]))";
    let rows = sqlx::query(EPOCHS)
        .bind(of.projection)
        .bind(of.generation.0)
        .bind(partitions.iter().map(|partition| partition.topic.to_string()).collect::<Vec<_>>())
        .bind(partitions.iter().map(|partition| partition.partition).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let memory = |row: &PgRow| {
        let memory = PartitionState {
            parking_epoch: row.try_get("parking_epoch")?,
            window: DuplicateWindow::new(window),
            ..PartitionState::default()
        };
        Ok((partition(row)?, memory))
    };
    rows.iter().map(memory).collect()
}

async fn add_parked(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    memories: &mut PartitionStates,
) -> sqlx::Result<()> {
    const PARKED: &str = "
        SELECT DISTINCT topic, partition, sequence FROM readcast.dead_letters
        WHERE projection = $1 AND generation = $2";
    let rows = sqlx::query(PARKED).bind(of.projection).bind(of.generation.0).fetch_all(connection).await?;
    for row in rows {
        if let Some(memory) = memories.get_mut(&partition(&row)?) {
            memory.parked.insert(SequenceId::recorded(row.try_get("sequence")?));
        }
    }
    Ok(())
}

async fn add_amendments(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    memories: &mut PartitionStates,
) -> sqlx::Result<()> {
    const AMENDMENTS: &str = "
        SELECT topic, partition, record_offset, action, value FROM readcast.amendments WHERE projection = $1";
    for row in sqlx::query(AMENDMENTS).bind(of.projection).fetch_all(connection).await? {
        if let Some(memory) = memories.get_mut(&partition(&row)?)
            && let Some(amendment) = Amendment::recorded(row.try_get("action")?, row.try_get("value")?)
        {
            memory.amendments.insert(row.try_get("record_offset")?, amendment);
        }
    }
    Ok(())
}

async fn add_ledger(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    window: i64,
    memories: &mut PartitionStates,
) -> sqlx::Result<()> {
    const PAGES: &str = "
        SELECT topic, partition, entries FROM readcast.ledger JOIN readcast.checkpoints USING
            (projection, generation, topic, partition)
        WHERE projection = $1 AND generation = $2 AND to_offset > next_offset - $3
        ORDER BY topic, partition, to_offset";
    let pages = sqlx::query(PAGES).bind(of.projection).bind(of.generation.0).bind(window);
    for row in pages.fetch_all(connection).await? {
        if let Some(memory) = memories.get_mut(&partition(&row)?) {
            ledger::entries(row.try_get("entries")?).for_each(|entry| memory.window.add(entry));
        }
    }
    Ok(())
}

/// Which rows of `readcast.dead_letters` are to be copied to their topic now.
const TO_COPY: &str = "copied_at IS NULL AND (copy_after IS NULL OR copy_after <= now())";

/// How much is parked, by projection and generation: of one projection, or of all.
pub(super) async fn counts(
    connection: &mut PgConnection,
    of: Option<&str>,
) -> sqlx::Result<BTreeMap<(String, i32), ParkedCounts>> {
    let filter = if of.is_some() { "WHERE projection = $1" } else { "" };
    let counts = format!(
        "SELECT projection, generation, count(DISTINCT (topic, partition, sequence)) AS keys, count(*) AS records,
                count(*) FILTER (WHERE {TO_COPY}) AS uncopied,
                count(*) FILTER (WHERE copied_at IS NULL AND copy_error IS NOT NULL) AS uncopyable,
                to_char(min(parked_at) AT TIME ZONE 'UTC', {TIME}) AS oldest
         FROM readcast.dead_letters {filter} GROUP BY projection, generation"
    );
    let count = |row: &PgRow| {
        let parked = ParkedCounts {
            keys: row.try_get::<i64, _>("keys")?.unsigned_abs(),
            records: row.try_get::<i64, _>("records")?.unsigned_abs(),
            uncopied: row.try_get::<i64, _>("uncopied")?.unsigned_abs(),
            uncopyable: row.try_get::<i64, _>("uncopyable")?.unsigned_abs(),
            oldest: row.try_get("oldest")?,
        };
        Ok(((row.try_get("projection")?, row.try_get("generation")?), parked))
    };
    let counts = sqlx::query(AssertSqlSafe(counts));
    let counts = match of {
        Some(projection) => counts.bind(projection),
        None => counts,
    };
    counts.fetch_all(connection).await?.iter().map(count).collect()
}

/// The sequences that are parked.
pub(super) async fn parked(connection: &mut PgConnection, of: ParkedIn<'_>) -> Result<Vec<ParkedSequence>, StoreError> {
    let sequences = format!(
        "SELECT DISTINCT ON (topic, partition, sequence)
                topic, partition, sequence, record_key, record_offset, class, reason, attempts,
                to_char(parked_at AT TIME ZONE 'UTC', {TIME}) AS parked_at,
                count(*) OVER same AS records,
                sum(coalesce(octet_length(record_key), 0) + coalesce(octet_length(record_value), 0)
                    + coalesce(octet_length(headers), 0)) OVER same AS bytes
         FROM readcast.dead_letters WHERE projection = $1 AND generation = $2
         WINDOW same AS (PARTITION BY topic, partition, sequence)
         ORDER BY topic, partition, sequence, record_offset"
    );
    let rows = sqlx::query(AssertSqlSafe(sequences)).bind(of.projection).bind(of.generation.0).fetch_all(connection);
    let parked = rows.await.and_then(|rows| rows.iter().map(sequence).collect::<sqlx::Result<Vec<_>>>());
    let mut parked = parked.map_err(at("reading what is parked"))?;
    parked.sort_by(|a, b| (&a.partition, a.first_offset).cmp(&(&b.partition, b.first_offset)));
    Ok(parked)
}

fn sequence(row: &PgRow) -> sqlx::Result<ParkedSequence> {
    Ok(ParkedSequence {
        partition: partition(row)?,
        id: SequenceId::recorded(row.try_get("sequence")?),
        key: row.try_get::<Option<Vec<u8>>, _>("record_key")?.map(Into::into),
        first_offset: row.try_get("record_offset")?,
        cause: cause(row)?,
        attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
        since: row.try_get("parked_at")?,
        records: row.try_get::<i64, _>("records")?.unsigned_abs(),
        bytes: row.try_get::<i64, _>("bytes")?.unsigned_abs(),
    })
}

/// The next records of a sequence. The epoch is read first: see [`recall`].
pub(super) async fn waiting(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    partition: &TopicPartition,
    sequence: &SequenceId,
    from: i64,
    most: usize,
) -> Result<WaitingRecords, StoreError> {
    const EPOCH: &str = "
        SELECT parking_epoch FROM readcast.checkpoints
        WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4";
    let waiting = format!(
        "SELECT {} FROM readcast.dead_letters
         WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4
           AND sequence = $5 AND record_offset >= $6
         ORDER BY record_offset LIMIT $7",
        record_columns()
    );
    let read = async {
        let epoch: Option<i64> = sqlx::query_scalar(EPOCH)
            .bind(of.projection)
            .bind(of.generation.0)
            .bind(&*partition.topic)
            .bind(partition.partition)
            .fetch_optional(&mut *connection)
            .await?;
        let rows = sqlx::query(AssertSqlSafe(waiting))
            .bind(of.projection)
            .bind(of.generation.0)
            .bind(&*partition.topic)
            .bind(partition.partition)
            .bind(sequence.as_str())
            .bind(from)
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await?;
        let records = rows.iter().map(record).collect::<sqlx::Result<_>>()?;
        Ok(WaitingRecords { parking_epoch: epoch.unwrap_or_default(), records })
    };
    read.await.map_err(at("reading parked records"))
}

/// Dead letters that were not copied to their topic yet.
pub(super) async fn uncopied(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    most: usize,
) -> Result<Vec<ParkedRecord>, StoreError> {
    let uncopied = format!(
        "SELECT {} FROM readcast.dead_letters
         WHERE projection = $1 AND generation = $2 AND {TO_COPY}
         ORDER BY topic, partition, record_offset LIMIT $3",
        record_columns()
    );
    let rows = sqlx::query(AssertSqlSafe(uncopied))
        .bind(of.projection)
        .bind(of.generation.0)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await;
    let records = rows.and_then(|rows| rows.iter().map(record).collect::<sqlx::Result<_>>());
    records.map_err(at("reading dead letters to copy"))
}

/// Notes that these could not be copied, and when they are tried again.
pub(super) async fn note_uncopyable(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    letters: &[((TopicPartition, i64), String)],
    encoding: Encoding,
) -> Result<(), StoreError> {
    const UNCOPYABLE: &str = "
        UPDATE readcast.dead_letters AS held
        SET copy_error = refused.reason, copy_attempts = copy_attempts + 1,
            copy_after = now() + least(interval '1 minute' * 2 ^ least(copy_attempts, 10), interval '1 hour')
        FROM unnest($3::text[], $4::int4[], $5::int8[], $6::text[])
            AS refused(topic, partition, record_offset, reason)
        WHERE held.projection = $1 AND held.generation = $2 AND held.topic = refused.topic
          AND held.partition = refused.partition AND held.record_offset = refused.record_offset";
    if letters.is_empty() {
        return Ok(());
    }
    let noted = sqlx::query(UNCOPYABLE)
        .bind(of.projection)
        .bind(of.generation.0)
        .bind(letters.iter().map(|((partition, _), _)| partition.topic.to_string()).collect::<Vec<_>>())
        .bind(letters.iter().map(|((partition, _), _)| partition.partition).collect::<Vec<_>>())
        .bind(letters.iter().map(|((_, offset), _)| *offset).collect::<Vec<_>>())
        .bind(letters.iter().map(|(_, reason)| encoding.fit(reason).into_owned()).collect::<Vec<_>>())
        .execute(connection)
        .await;
    noted.map(drop).map_err(at("noting what can't be copied"))
}

/// The dead letters that could not be copied, and why.
pub(super) async fn uncopyable(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
) -> Result<Vec<((TopicPartition, i64), String)>, StoreError> {
    const UNCOPYABLE: &str = "
        SELECT topic, partition, record_offset, copy_error FROM readcast.dead_letters
        WHERE projection = $1 AND generation = $2 AND copied_at IS NULL AND copy_error IS NOT NULL
        ORDER BY topic, partition, record_offset";
    let rows = sqlx::query(UNCOPYABLE).bind(of.projection).bind(of.generation.0).fetch_all(connection).await;
    let letter =
        |row: &PgRow| Ok(((partition(row)?, row.try_get("record_offset")?), row.try_get::<String, _>("copy_error")?));
    let letters = rows.and_then(|rows| rows.iter().map(letter).collect());
    letters.map_err(at("reading what can't be copied"))
}

/// Notes that these were copied.
pub(super) async fn note_copied(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    letters: &[(TopicPartition, i64)],
) -> Result<(), StoreError> {
    const COPIED: &str = "
        UPDATE readcast.dead_letters SET copied_at = now(), copy_error = NULL
        WHERE projection = $1 AND generation = $2
          AND (topic, partition, record_offset) IN (SELECT * FROM unnest($3::text[], $4::int4[], $5::int8[]))";
    let noted = sqlx::query(COPIED)
        .bind(of.projection)
        .bind(of.generation.0)
        .bind(letters.iter().map(|(partition, _)| partition.topic.to_string()).collect::<Vec<_>>())
        .bind(letters.iter().map(|(partition, _)| partition.partition).collect::<Vec<_>>())
        .bind(letters.iter().map(|(_, offset)| *offset).collect::<Vec<_>>())
        .execute(connection)
        .await;
    noted.map(drop).map_err(at("noting what was copied"))
}

fn record_columns() -> String {
    format!(
        "topic, partition, record_offset, sequence, record_key, record_value, headers, record_time, class, reason,
         attempts, to_char(parked_at AT TIME ZONE 'UTC', {TIME}) AS parked_at"
    )
}

fn record(row: &PgRow) -> sqlx::Result<ParkedRecord> {
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

fn cause(row: &PgRow) -> sqlx::Result<Option<PoisonCause>> {
    let class = row.try_get::<Option<&str>, _>("class")?.and_then(PoisonClass::named);
    let reason: Option<String> = row.try_get("reason")?;
    Ok(class.map(|class| PoisonCause::new(class, reason.unwrap_or_default())))
}

fn partition(row: &PgRow) -> sqlx::Result<TopicPartition> {
    Ok(TopicPartition::new(row.try_get::<&str, _>("topic")?, row.try_get("partition")?))
}

/// Raises the parking epoch of the partition in every generation, provided that it is the expected one in ours. Locks
/// the checkpoints, so that no commit is under way behind it; the next one was planned with an outdated epoch.
pub(super) async fn raise_epoch(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    settlement: &Settlement,
) -> Result<bool, StoreError> {
    const RAISE: &str = "
        UPDATE readcast.checkpoints SET parking_epoch = parking_epoch + 1
        WHERE projection = $1 AND topic = $3 AND partition = $4 AND (generation <> $2 OR parking_epoch = $5)
        RETURNING generation";
    let raised: sqlx::Result<Vec<i32>> = sqlx::query_scalar(RAISE)
        .bind(of.projection)
        .bind(of.generation.0)
        .bind(&*settlement.partition.topic)
        .bind(settlement.partition.partition)
        .bind(settlement.parking_epoch)
        .fetch_all(connection)
        .await;
    Ok(raised.map_err(at("locking what is parked"))?.contains(&of.generation.0))
}

/// Takes settled records away, notes which one failed, and remembers what the operator decided.
pub(super) async fn settle(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    settlement: &Settlement,
    encoding: Encoding,
) -> Result<(), StoreError> {
    let partition = &settlement.partition;
    let settled = async {
        amend(connection, of, settlement, encoding).await?;
        const SETTLED: &str = "
            DELETE FROM readcast.dead_letters
            WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND record_offset = ANY ($5)";
        sqlx::query(SETTLED)
            .bind(of.projection)
            .bind(of.generation.0)
            .bind(&*partition.topic)
            .bind(partition.partition)
            .bind(&settlement.settled)
            .execute(&mut *connection)
            .await?;
        const FAILED: &str = "
            UPDATE readcast.dead_letters SET attempts = attempts + 1, class = $6, reason = $7
            WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND record_offset = $5";
        if let Some((offset, cause)) = &settlement.failed {
            sqlx::query(FAILED)
                .bind(of.projection)
                .bind(of.generation.0)
                .bind(&*partition.topic)
                .bind(partition.partition)
                .bind(offset)
                .bind(cause.class.name())
                .bind(encoding.fit(&cause.reason))
                .execute(connection)
                .await?;
        }
        Ok(())
    };
    settled.await.map_err(at("settling what is parked"))
}

async fn amend(
    connection: &mut PgConnection,
    of: ParkedIn<'_>,
    settlement: &Settlement,
    encoding: Encoding,
) -> sqlx::Result<()> {
    const AMEND: &str = "
        INSERT INTO readcast.amendments (projection, topic, partition, record_offset, action, value, original, made_by)
        SELECT $1, $3, $4, $5, $6, $7, (
            SELECT record_value FROM readcast.dead_letters
            WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND record_offset = $5), $8
        ON CONFLICT (projection, topic, partition, record_offset) DO UPDATE
        SET action = excluded.action, value = excluded.value, made_by = excluded.made_by, made_at = now()";
    for (offset, amendment) in &settlement.amendments {
        sqlx::query(AMEND)
            .bind(of.projection)
            .bind(of.generation.0)
            .bind(&*settlement.partition.topic)
            .bind(settlement.partition.partition)
            .bind(offset)
            .bind(amendment.action())
            .bind(amendment.value().map(|value| value.to_vec()))
            .bind(encoding.fit(&settlement.by))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Takes what is parked before the checkpoints of `generation`, and the ledger, from the one it is a copy of.
pub(super) async fn copy(
    connection: &mut PgConnection,
    projection: &str,
    from: Generation,
    to: Generation,
) -> Result<(), StoreError> {
    const LETTERS: &str = "
        INSERT INTO readcast.dead_letters
            (projection, generation, topic, partition, record_offset, sequence, record_key, record_value, headers,
             record_time, class, reason, attempts, parked_at)
        SELECT d.projection, $3, d.topic, d.partition, record_offset, sequence, record_key, record_value, headers,
               record_time, class, reason, attempts, parked_at
        FROM readcast.dead_letters AS d JOIN readcast.checkpoints AS ours
            ON ours.projection = $1 AND ours.generation = $3 AND ours.topic = d.topic AND ours.partition = d.partition
        WHERE d.projection = $1 AND d.generation = $2 AND d.record_offset < ours.next_offset";
    const LEDGER: &str = "
        INSERT INTO readcast.ledger (projection, generation, topic, partition, to_offset, entries)
        SELECT projection, $3, topic, partition, to_offset, entries
        FROM readcast.ledger WHERE projection = $1 AND generation = $2";
    for statement in [LETTERS, LEDGER] {
        let copied = sqlx::query(statement).bind(projection).bind(from.0).bind(to.0).execute(&mut *connection).await;
        copied.map_err(at("copying what is parked"))?;
    }
    cut_ledger(connection, ParkedIn { projection, generation: to }).await
}
