//! Parks the dead letters of a commit, and writes its pages of the ledger.

use readcast_core::TopicPartition;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};

use super::connection::at;
use crate::store::bookkeeping::parking;
use crate::store::dead_letter::headers_to_bytes;
use crate::store::{Commit, Encoding, ParkedIn, StoreError};

type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// A statement on one partition of a generation, which the first four parameters identify.
fn about(statement: &'static str, of: ParkedIn<'_>, partition: &TopicPartition) -> Query {
    let statement = sqlx::query(statement).bind(of.projection.to_owned()).bind(of.generation.0);
    statement.bind(partition.topic.to_string()).bind(partition.partition)
}

/// Parks the dead letters of a commit, within its transaction. Returns the limit that they exceed, if any.
pub(super) async fn park(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    commit: &Commit,
) -> Result<Option<String>, StoreError> {
    const PARK: &str = "
        INSERT INTO readcast_dead_letters
            (projection, generation, topic, partition, record_offset, sequence, record_key, record_value, headers,
             record_time, class, reason, affected)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
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
            .bind(cause.map(|cause| Encoding::Utf8.fit(&cause.reason).into_owned()))
            .bind(letter.affected_json().map(|affected| affected.to_string()))
            .execute(&mut *connection)
            .await
            .map_err(at("parking records"))?;
    }
    parking::exceeded(connection, of, commit).await
}

/// Writes the commit's pages of the ledger within its transaction, and deletes the pages that are no longer needed.
pub(super) async fn write_ledger(
    connection: &mut SqliteConnection,
    of: ParkedIn<'_>,
    commit: &Commit,
) -> Result<(), StoreError> {
    const FORGET: &str = "
        DELETE FROM readcast_ledger
        WHERE projection = ?1 AND generation = ?2 AND topic = ?3 AND partition = ?4 AND to_offset <= ?5";
    const WRITE: &str = "
        INSERT INTO readcast_ledger (projection, generation, topic, partition, to_offset, entries)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    for page in &commit.ledger {
        let forgotten = about(FORGET, of, &page.partition).bind(page.forget_to).execute(&mut *connection).await;
        forgotten.map_err(at("writing the ledger"))?;
        let written = about(WRITE, of, &page.partition).bind(page.to).bind(page.to_bytes()).execute(&mut *connection);
        written.await.map_err(at("writing the ledger"))?;
    }
    Ok(())
}
