//! The deployment that the database belongs to, as recorded in it.

use sqlx::{Row, SqliteConnection};

use super::connection::at;
use crate::store::deployment::Succession;
use crate::store::{Deployment, StoreError};

const DOING: &str = "looking up the deployment of the database";

/// The recorded deployment. `None` if there is none.
pub(super) async fn recorded(connection: &mut SqliteConnection) -> Result<Option<Deployment>, StoreError> {
    const IS_MIGRATED: &str = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'readcast_deployment'";
    const RECORDED: &str = "SELECT app, topic_prefix, cluster_id FROM readcast_deployment";
    let is_migrated: bool = sqlx::query_scalar(IS_MIGRATED).fetch_one(&mut *connection).await.map_err(at(DOING))?;
    if !is_migrated {
        return Ok(None);
    }
    let row = sqlx::query(RECORDED).fetch_optional(connection).await.map_err(at(DOING))?;
    let deployment = row.map(|row| {
        Ok(Deployment {
            app: row.try_get("app")?,
            schema: None,
            topic_prefix: row.try_get("topic_prefix")?,
            cluster_id: row.try_get("cluster_id")?,
        })
    });
    deployment.transpose().map_err(at(DOING))
}

/// Records that the database belongs to `ours`, or refuses it: see [`Deployment::succeed`]. Only one process can open
/// the file, so no other instance runs. Runs within a transaction.
pub(super) async fn deploy(
    connection: &mut SqliteConnection,
    ours: &Deployment,
    adopt: bool,
) -> Result<(), StoreError> {
    const RECORD: &str = "
        INSERT INTO readcast_deployment (only_one, app, topic_prefix, cluster_id) VALUES (1, ?1, ?2, ?3)
        ON CONFLICT (only_one) DO UPDATE
        SET app = excluded.app, topic_prefix = excluded.topic_prefix,
            cluster_id = coalesce(excluded.cluster_id, cluster_id),
            recorded_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";
    let recorded = recorded(connection).await?;
    if ours.succeed(recorded.as_ref(), &[], adopt)? == Succession::Same {
        return Ok(());
    }
    let record = sqlx::query(RECORD).bind(ours.app.clone()).bind(ours.topic_prefix.clone());
    let recorded = record.bind(ours.cluster_id.clone()).execute(connection).await;
    recorded.map(drop).map_err(at("recording the deployment of the database"))
}
