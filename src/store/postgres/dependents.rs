//! Finds objects of users that depend on readcast's tables and prevent dropping them.

use sqlx::{PgConnection, Row};

use super::connection::at;
use crate::store::{Dependent, StoreError};

/// The objects that depend on the relations `names`, directly or indirectly, in an order in which they can be removed.
/// The views `aside` are readcast's own; they and their dependents are left out.
pub(super) async fn of(
    connection: &mut PgConnection,
    names: &[String],
    aside: &[String],
) -> Result<Vec<Dependent>, StoreError> {
    // A function with a row of a table as an argument depends on the row type or its array type. The `_RETURN` rule of
    // a view stands for the view; any other rule is an object of its own.
    const DEPENDENTS: &str = "
        WITH RECURSIVE found AS (
            SELECT 'pg_class'::regclass::oid AS classid, to_regclass(name)::oid AS objid, 0 AS objsubid, 0 AS depth,
                   name AS root
            FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL
            UNION
            SELECT next.classid, next.objid, next.objsubid, found.depth + 1, found.root
            FROM found
            CROSS JOIN LATERAL (
                SELECT found.classid AS classid, found.objid AS objid
                UNION ALL
                SELECT 'pg_type'::regclass::oid, t.oid FROM pg_class c JOIN pg_type t
                    ON t.oid = c.reltype OR t.oid = (SELECT typarray FROM pg_type WHERE oid = c.reltype)
                WHERE found.classid = 'pg_class'::regclass AND c.oid = found.objid AND c.reltype <> 0) AS held
            JOIN pg_depend d ON d.refclassid = held.classid AND d.refobjid = held.objid AND d.deptype = 'n'
            LEFT JOIN pg_rewrite w
                ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid AND w.rulename = '_RETURN'
            CROSS JOIN LATERAL (
                SELECT CASE WHEN w.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass::oid END AS classid,
                       coalesce(w.ev_class, d.objid) AS objid,
                       CASE WHEN w.oid IS NULL THEN d.objsubid ELSE 0 END AS objsubid) AS next
            WHERE found.depth < 100
              AND NOT (next.classid = found.classid AND next.objid = found.objid)
              AND NOT (next.classid = 'pg_class'::regclass AND next.objid = ANY (
                    SELECT to_regclass(name)::oid FROM unnest($2::text[] || $1::text[]) AS name
                    WHERE to_regclass(name) IS NOT NULL)))
        SELECT object.type || ' ' || object.identity AS what, to_regclass(min(root))::text AS root,
               CASE
                   WHEN object.type = 'table constraint' THEN (
                       SELECT format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, k.conname)
                       FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n
                           ON n.oid = c.relnamespace
                       WHERE k.oid = objid)
                   -- These contain rows, so readcast proposes no removal.
                   WHEN object.type IN ('table', 'table column', 'foreign table') THEN NULL
                   WHEN object.type IN ('view', 'materialized view', 'function', 'procedure', 'rule', 'policy', 'trigger')
                       THEN format('DROP %s %s', upper(object.type), object.identity)
               END AS removal
        FROM found, LATERAL pg_identify_object(classid, objid, objsubid) AS object
        WHERE depth > 0
        GROUP BY classid, objid, objsubid, object.type, object.identity
        ORDER BY max(depth) DESC, what";
    let rows = sqlx::query(DEPENDENTS).bind(names).bind(aside).fetch_all(connection).await;
    let dependents = rows.and_then(|rows| {
        let dependent = |row: &sqlx::postgres::PgRow| {
            Ok(Dependent { what: row.try_get("what")?, on: row.try_get("root")?, removal: row.try_get("removal")? })
        };
        rows.iter().map(dependent).collect()
    });
    dependents.map_err(at("finding the objects that depend on the tables"))
}

/// The sessions that hold a lock on one of the relations `names`, a description each.
pub(super) async fn users(connection: &mut PgConnection, names: &[String]) -> Result<Vec<String>, StoreError> {
    const USERS: &str = "
        SELECT DISTINCT format('process %s (%s)', a.pid, concat_ws(', ', a.usename, nullif(a.application_name, '')))
        FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.granted AND l.relation = ANY (SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS name)
          AND a.datname = current_database() AND a.pid <> pg_backend_pid()
        ORDER BY 1";
    let users = sqlx::query_scalar(USERS).bind(names).fetch_all(connection).await;
    users.map_err(at("finding the sessions that use the tables"))
}
