//! The deployment that the database belongs to, as recorded in it.

use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use super::connection::{at, execute};
use super::instances::PRESENT;
use super::session::PgSession;
use super::sql::{self, quoted, stable};
use crate::store::bookkeeping::generations;
use crate::store::deployment::{Running, Succession};
use crate::store::{Deployment, GenerationState, StoreError};
use readcast_core::Shown;

const DOING: &str = "looking up the deployment of the database";

/// Whether the tables for the deployment and the running instances exist. Earlier versions lack them.
pub(super) async fn is_there(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let is_there = sqlx::query_scalar("SELECT to_regclass('readcast.deployment') IS NOT NULL");
    is_there.fetch_one(connection).await
}

/// The recorded deployment. `None` if there is none.
pub(super) async fn recorded(connection: &mut PgConnection) -> Result<Option<Deployment>, StoreError> {
    const RECORDED: &str = "SELECT app, schema, topic_prefix, cluster_id FROM readcast.deployment";
    if !is_there(connection).await.map_err(at(DOING))? {
        return Ok(None);
    }
    let row = sqlx::query(RECORDED).fetch_optional(connection).await.map_err(at(DOING))?;
    let deployment = row.map(|row| {
        Ok(Deployment {
            app: row.try_get("app")?,
            schema: row.try_get("schema")?,
            topic_prefix: row.try_get("topic_prefix")?,
            cluster_id: row.try_get("cluster_id")?,
        })
    });
    deployment.transpose().map_err(at(DOING))
}

/// Records that the database belongs to `ours`, or refuses it: see [`Deployment::succeed`].
pub(super) async fn deploy(connection: &mut PgSession<'_>, ours: &Deployment, adopt: bool) -> Result<(), StoreError> {
    const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('readcast deployment', 0))";
    execute(connection, "BEGIN").await.map_err(at(DOING))?;
    execute(connection, LOCK).await.map_err(at(DOING))?;
    let recorded = recorded(connection).await?;
    // Earlier versions recorded no deployment. The schema of their views is the schema of the deployment.
    let before = match recorded.clone() {
        Some(recorded) => Some(recorded),
        None => {
            let schema = schema_of_the_views(connection).await?;
            schema.map(|schema| Deployment { schema: Some(schema), ..ours.clone() })
        }
    };
    let running = running(connection).await?;
    match ours.succeed(before.as_ref(), &running, adopt)? {
        Succession::Same if recorded.is_some() => {}
        Succession::Same => record(connection, ours).await?,
        Succession::Record { moved_from } => {
            if let (Some(from), Some(to)) = (moved_from, &ours.schema) {
                move_views(connection, &from, to).await?;
            }
            record(connection, ours).await?;
        }
    }
    execute(connection, "COMMIT").await.map_err(at(DOING))
}

async fn record(connection: &mut PgConnection, ours: &Deployment) -> Result<(), StoreError> {
    const RECORD: &str = "
        INSERT INTO readcast.deployment AS held (app, schema, topic_prefix, cluster_id) VALUES ($1, $2, $3, $4)
        ON CONFLICT (only_one) DO UPDATE
        SET app = excluded.app, schema = excluded.schema, topic_prefix = excluded.topic_prefix,
            cluster_id = coalesce(excluded.cluster_id, held.cluster_id), recorded_at = now()";
    let record = sqlx::query(RECORD).bind(&ours.app).bind(&ours.schema).bind(&ours.topic_prefix);
    let recorded = record.bind(&ours.cluster_id).execute(connection).await;
    recorded.map(drop).map_err(at("recording the deployment of the database"))
}

/// The instances that run at this moment and recorded their app.
async fn running(connection: &mut PgConnection) -> Result<Vec<Running>, StoreError> {
    let running = format!(
        "SELECT DISTINCT projection, app, coalesce(host, 'unknown') AS host FROM readcast.instances
         WHERE running AND seen_at > now() - {} AND app IS NOT NULL ORDER BY app, host, projection",
        PRESENT
    );
    let rows = sqlx::query(AssertSqlSafe(running)).fetch_all(connection).await.map_err(at(DOING))?;
    let running = rows.iter().map(|row| {
        Ok(Running { projection: row.try_get("projection")?, app: row.try_get("app")?, host: row.try_get("host")? })
    });
    running.collect::<sqlx::Result<_>>().map_err(at(DOING))
}

/// The schema that contains a view of a live generation. `None` if there is no such view.
async fn schema_of_the_views(connection: &mut PgSession<'_>) -> Result<Option<String>, StoreError> {
    const SCHEMA: &str = "
        SELECT n.nspname::text FROM pg_depend AS d
        JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        JOIN pg_class AS v ON v.oid = r.ev_class AND v.relkind = 'v' AND v.relname = $2
        JOIN pg_namespace AS n ON n.oid = v.relnamespace
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass($1) LIMIT 1";
    for (physical, name) in live_tables(connection).await? {
        let schema = sqlx::query_scalar(SCHEMA).bind(physical).bind(name).fetch_optional(&mut **connection).await;
        if let Some(schema) = schema.map_err(at(DOING))? {
            return Ok(Some(schema));
        }
    }
    Ok(None)
}

/// What readers see of live generations: each stable name, with the physical table that it shows.
async fn live_tables(connection: &mut PgSession<'_>) -> Result<Vec<(String, String)>, StoreError> {
    let mut live = generations::all(connection).await?;
    live.retain(|status| status.state == GenerationState::Live);
    let tables = live.iter().flat_map(|status| {
        let names = |shown: Shown<'_>| (sql::physical(shown.table, status.generation), shown.name.to_owned());
        Shown::all(&status.tables).into_iter().map(names).collect::<Vec<_>>()
    });
    Ok(tables.collect())
}

/// Moves the stable names from one schema to another, with users' privileges and dependent objects.
async fn move_views(connection: &mut PgSession<'_>, from: &str, to: &str) -> Result<(), StoreError> {
    const IS_THERE: &str = "SELECT to_regclass($1) IS NOT NULL";
    for (_, name) in live_tables(connection).await? {
        let doing = || format!("moving {from}.{name} to schema {to}");
        let is_there = sqlx::query_scalar(IS_THERE).bind(stable(from, &name)).fetch_one(&mut **connection).await;
        if is_there.map_err(at(doing()))? {
            let statement = format!("ALTER VIEW {} SET SCHEMA {}", stable(from, &name), quoted(to));
            connection.execute(AssertSqlSafe(statement)).await.map_err(at(doing()))?;
            tracing::info!("the view {name} moved from schema {from} to {to}");
        }
    }
    Ok(())
}
