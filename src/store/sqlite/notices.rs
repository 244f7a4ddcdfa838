//! Notices: what stops nothing and an operator must know.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::connection::at;
use super::generations;
use crate::store::{Generation, Notice, NoticeKind, RecordedNotice, StoreError};

/// Notes it, or that it still is so. Nothing of a generation that does not exist.
pub(super) async fn note(
    connection: &mut SqliteConnection,
    projection: &str,
    generation: Generation,
    by: &str,
    notice: &Notice,
) -> Result<(), StoreError> {
    const NOTE: &str = "
        INSERT INTO readcast_notices AS held (projection, generation, kind, text, next, count, noted_by)
        SELECT projection, generation, ?3, ?4, ?5, ?6, ?7 FROM readcast_generations
        WHERE projection = ?1 AND generation = ?2
        ON CONFLICT (projection, generation, kind) DO UPDATE
        SET text = excluded.text, next = excluded.next, seen_at = excluded.seen_at, noted_by = excluded.noted_by,
            count = iif(?8, held.count, 0) + excluded.count";
    let noted = sqlx::query(NOTE)
        .bind(projection)
        .bind(generation.0)
        .bind(notice.kind.name())
        .bind(&notice.text)
        .bind(&notice.next)
        .bind(i64::try_from(notice.count).unwrap_or(i64::MAX))
        .bind(by)
        .bind(notice.kind.adds_up())
        .execute(connection)
        .await;
    noted.map(drop).map_err(at("noting what an operator must know"))
}

pub(super) async fn withdraw(
    connection: &mut SqliteConnection,
    projection: &str,
    generation: Generation,
    kind: NoticeKind,
) -> Result<(), StoreError> {
    const WITHDRAW: &str = "DELETE FROM readcast_notices WHERE projection = ?1 AND generation = ?2 AND kind = ?3";
    let withdrawn = sqlx::query(WITHDRAW).bind(projection).bind(generation.0).bind(kind.name());
    withdrawn.execute(connection).await.map(drop).map_err(at("withdrawing a notice"))
}

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<RecordedNotice>, StoreError> {
    const ALL: &str = "
        SELECT projection, generation, kind, text, next, count, since, seen_at,
            seen_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day') AS is_old
        FROM readcast_notices ORDER BY projection, generation, kind";
    if !generations::is_migrated(connection).await? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(ALL).fetch_all(connection).await;
    // Of a kind that is not known, a later version has written: it is for that to tell.
    let notices = rows.and_then(|rows| rows.iter().filter_map(|row| notice(row).transpose()).collect());
    notices.map_err(at("reading notices"))
}

fn notice(row: &SqliteRow) -> sqlx::Result<Option<RecordedNotice>> {
    let Some(kind) = NoticeKind::named(row.try_get("kind")?) else { return Ok(None) };
    Ok(Some(RecordedNotice {
        projection: row.try_get("projection")?,
        generation: Generation(row.try_get("generation")?),
        kind,
        text: row.try_get("text")?,
        next: row.try_get("next")?,
        count: row.try_get::<i64, _>("count")?.unsigned_abs(),
        since: row.try_get("since")?,
        seen_at: row.try_get("seen_at")?,
        is_old: row.try_get("is_old")?,
    }))
}
