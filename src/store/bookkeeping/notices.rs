//! Notices: conditions that stop no projection and that an operator must know.

use super::is_migrated;
use crate::store::session::{Row, Session, count, values};
use crate::store::{Generation, Notice, NoticeKind, RecordedNotice, StoreError};

/// How many subjects notices of one kind on one generation can have. Producers choose some of them.
const MOST_SUBJECTS: i64 = 100;

/// Records a notice, or updates the time at which its condition was last seen. No effect if there is no such
/// generation, and for a new subject beyond [`MOST_SUBJECTS`].
pub(in crate::store) async fn record(
    session: &mut dyn Session,
    projection: &str,
    generation: Generation,
    by: &str,
    notice: &Notice,
) -> Result<(), StoreError> {
    const RECORD: &str = "
        INSERT INTO readcast.notices AS held (projection, generation, kind, text, next, count, noted_by, subject)
        SELECT projection, generation, $3, $4, $5, $6, $7, $9 FROM readcast.generations
        WHERE projection = $1 AND generation = $2 AND (
            SELECT count(*) FROM readcast.notices AS other
            WHERE other.projection = $1 AND other.generation = $2 AND other.kind = $3 AND other.subject <> $9) < $10
        ON CONFLICT (projection, generation, kind, subject) DO UPDATE
        SET text = CASE WHEN held.subject = '' THEN excluded.text ELSE held.text END, next = excluded.next,
            seen_at = now(), noted_by = excluded.noted_by,
            count = CASE WHEN $8 THEN held.count ELSE 0 END + excluded.count";
    let values = values![
        projection,
        generation,
        notice.kind.name(),
        session.fit(&notice.text),
        session.fit(&notice.next),
        count(notice.count),
        by,
        notice.kind.adds_up(),
        session.fit(&notice.subject),
        MOST_SUBJECTS,
    ];
    session.execute("recording a notice", RECORD, values).await.map(drop)
}

/// Removes the notice of this kind and subject, if there is one.
pub(in crate::store) async fn clear(
    session: &mut dyn Session,
    projection: &str,
    generation: Generation,
    kind: NoticeKind,
    subject: &str,
) -> Result<(), StoreError> {
    const CLEAR: &str = "
        DELETE FROM readcast.notices WHERE projection = $1 AND generation = $2 AND kind = $3 AND subject = $4";
    session.execute("clearing a notice", CLEAR, values![projection, generation, kind.name(), subject]).await.map(drop)
}

/// The notices on all generations, without the kinds that only a later version knows.
pub(in crate::store) async fn all(session: &mut dyn Session) -> Result<Vec<RecordedNotice>, StoreError> {
    const ALL: &str = "
        SELECT projection, generation, kind, subject, text, next, count, rfc3339(since) AS since, rfc3339(seen_at) AS seen,
               seen_at < in_seconds(-86400) AS is_old
        FROM readcast.notices ORDER BY projection, generation, kind, subject";
    if !is_migrated(session).await? {
        return Ok(Vec::new());
    }
    let rows = session.fetch("reading notices", ALL, vec![]).await?;
    rows.iter().filter_map(|row| notice(row).transpose()).collect()
}

fn notice(row: &Row) -> Result<Option<RecordedNotice>, StoreError> {
    let Some(kind) = NoticeKind::named(&row.get::<String>("kind")?) else { return Ok(None) };
    Ok(Some(RecordedNotice {
        projection: row.get("projection")?,
        generation: Generation(row.get("generation")?),
        kind,
        subject: row.get("subject")?,
        text: row.get("text")?,
        next: row.get("next")?,
        count: row.count("count")?,
        since: row.get("since")?,
        seen_at: row.get("seen")?,
        is_old: row.get("is_old")?,
    }))
}
