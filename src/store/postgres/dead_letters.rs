//! Parks the dead letters of a commit, and writes its pages of the ledger.

use sqlx::PgConnection;

use super::connection::{at, is_of_a_text};
use super::hints::Hints;
use super::session::PgSession;
use super::writer::Reasons;
use crate::store::bookkeeping::parking;
use crate::store::dead_letter::headers_to_bytes;
use crate::store::session::Session;
use crate::store::{Commit, DeadLetter, LedgerPage, ParkedIn, StoreError};

/// The outcome of parking the dead letters of a commit.
pub(super) enum Parking {
    Done,
    /// The parked records would exceed this limit.
    Full(String),
    /// The database can't store the reason of a dead letter.
    ReasonsRefused,
}

/// The text that replaces a reason that the database refuses.
const WITHHELD: &str = "the reason can't be stored in this database; the log of the process has the class";

/// Parks the dead letters of a commit, within its transaction.
pub(super) async fn park(
    session: &mut PgSession<'_>,
    of: ParkedIn<'_>,
    commit: &Commit,
    reasons: Reasons,
) -> Result<Parking, StoreError> {
    const PARK: &str = "
        INSERT INTO readcast.dead_letters
            (projection, generation, topic, partition, record_offset, sequence, record_key, record_value, headers,
             record_time, class, reason, affected)
        SELECT $1, $2, new.* FROM unnest($3::text[], $4::int4[], $5::int8[], $6::text[], $7::bytea[], $8::bytea[],
                                         $9::bytea[], $10::int8[], $11::text[], $12::text[], $13::text[]::jsonb[]) AS new";
    let letters = &commit.dead_letters;
    if letters.is_empty() {
        return Ok(Parking::Done);
    }
    let class = |letter: &DeadLetter| letter.cause.as_ref().map(|cause| cause.class.name());
    let reason = |letter: &DeadLetter| {
        let cause = letter.cause.as_ref()?;
        Some(match reasons {
            Reasons::AsGiven => session.encoding().fit(&cause.reason).into_owned(),
            Reasons::Withheld => WITHHELD.to_owned(),
        })
    };
    let affected = column(letters, |letter| {
        letter.affected_json().map(|affected| session.encoding().fit_json(&affected.to_string()))
    });
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
        .bind(affected)
        .execute(&mut **session)
        .await;
    match parked {
        Err(error) if is_of_a_text(&error) && reasons != Reasons::Withheld => return Ok(Parking::ReasonsRefused),
        parked => parked.map_err(at("parking records"))?,
    };
    let exceeded = parking::exceeded(session, of, commit).await?;
    Ok(exceeded.map_or(Parking::Done, Parking::Full))
}

fn column<T>(letters: &[DeadLetter], value: impl FnMut(&DeadLetter) -> T) -> Vec<T> {
    letters.iter().map(value).collect()
}

/// Writes the commit's pages of the ledger within its transaction, and deletes the pages that are no longer needed.
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

/// Writes pages and deletes older ones. Up to the offset `forgotten` there are none. An index also refers to deleted
/// rows as long as an open snapshot can see them. Therefore each page is looked up by all columns of the key: the
/// planner can't choose to scan a range whose bound it does not know.
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
