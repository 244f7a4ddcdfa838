//! The running processes and their connection limits.

use sqlx::{AssertSqlSafe, PgConnection};

use super::connection::at;
use super::deployment;
use super::session::PgSession;
use crate::store::bookkeeping::heartbeats;
use crate::store::session::{Session, values};
use crate::store::{ConnectionCapacity, Instance, StoreError};

/// The time after its last heartbeat during which an instance counts as running.
pub(super) const PRESENT: &str = "interval '10 seconds'";

/// Records that `instance` runs the projection with the definitions of these `hashes`, and the process that it belongs
/// to. Runs within a transaction.
pub(super) async fn run(
    session: &mut PgSession<'_>,
    instance: &Instance,
    projection: &str,
    hashes: &[&str],
) -> Result<(), StoreError> {
    const PROCESS: &str = "
        UPDATE readcast.instances SET app = $3, host = $4, process = $5, max_connections = $6
        WHERE instance = $1 AND projection = $2";
    heartbeats::run(session, &instance.id, projection, hashes).await?;
    let values = values![
        &instance.id,
        projection,
        &instance.app,
        &instance.host,
        i64::from(instance.process),
        instance.max_connections.map(u32::cast_signed),
    ];
    session.execute("recording that an instance runs", PROCESS, values).await.map(drop)
}

/// The server's connection slots and the processes that use them.
pub(super) async fn capacity(connection: &mut PgConnection) -> Result<ConnectionCapacity, StoreError> {
    const SERVER: &str = "
        SELECT current_setting('max_connections')::int4 - current_setting('superuser_reserved_connections')::int4,
               (SELECT count(*)::int4 FROM pg_stat_activity
                WHERE backend_type = 'client backend'
                  AND application_name IS DISTINCT FROM current_setting('application_name'))";
    let ours = format!(
        "SELECT count(*)::int4, coalesce(sum(most), 0)::int4 FROM (
             SELECT max(max_connections) AS most FROM readcast.instances
             WHERE running AND seen_at > now() - {PRESENT} AND process IS NOT NULL GROUP BY host, process) AS processes"
    );
    let counted = async {
        let (server, others): (i32, i32) = sqlx::query_as(SERVER).fetch_one(&mut *connection).await?;
        let (processes, ours): (i32, i32) = match deployment::is_there(connection).await? {
            true => sqlx::query_as(AssertSqlSafe(ours)).fetch_one(connection).await?,
            false => (0, 0),
        };
        let [server, others, processes, ours] = [server, others, processes, ours].map(i32::unsigned_abs);
        Ok(ConnectionCapacity { server, others, processes, ours })
    };
    counted.await.map_err(at("counting the server's connections"))
}
