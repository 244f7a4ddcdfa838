//! The indexes of a physical table in the catalogs, and the copy of users' indexes to the next generation's table.
//!
//! An index is created again from its parts. Replacing the table's name in its statement would be wrong, because the
//! name may also occur in texts and expressions.

use readcast_core::TableSpec;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use super::connection::at;
use super::sql::{self, quoted};
use crate::store::addition::carried_names;
use crate::store::comparison::pairs;
use crate::store::{Generation, GenerationStatus, StoreError};

/// An index of a physical table.
pub(super) struct Index {
    pub(super) name: String,
    is_unique: bool,
    /// `false` for the remains of a failed `CREATE INDEX CONCURRENTLY`, which no query uses.
    pub(super) is_valid: bool,
    /// Whether the index belongs to a constraint.
    of_constraint: bool,
    /// The part of its CREATE statement after the name of the table.
    definition: String,
    /// The columns, if [`TableSpec::index`] can declare the index.
    pub(super) columns: Option<Vec<String>>,
    /// The comment as an SQL literal.
    comment: Option<String>,
    /// The statistics targets of its columns, as the actions of an ALTER INDEX.
    statistics: Option<String>,
}

impl Index {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            name: row.try_get("name")?,
            is_unique: row.try_get("is_unique")?,
            is_valid: row.try_get("is_valid")?,
            of_constraint: row.try_get("of_constraint")?,
            definition: row.try_get("definition")?,
            columns: row.try_get("columns")?,
            comment: row.try_get("comment")?,
            statistics: row.try_get("statistics")?,
        })
    }

    /// The statements that create the index as `name` on the table `physical`.
    fn statements(&self, name: &str, physical: &str) -> Vec<String> {
        let unique = if self.is_unique { "UNIQUE " } else { "" };
        let qualified = format!("{}.{}", sql::TABLES_SCHEMA, quoted(name));
        let mut statements = vec![format!("CREATE {unique}INDEX {} ON {physical} {}", quoted(name), self.definition)];
        statements.extend(self.statistics.iter().map(|statistics| format!("ALTER INDEX {qualified} {statistics}")));
        statements.extend(self.comment.iter().map(|comment| format!("COMMENT ON INDEX {qualified} IS {comment}")));
        statements
    }

    /// The statements that create the index as it is.
    pub(super) fn statement(&self, physical: &str) -> String {
        self.statements(&self.name, physical).join("; ")
    }

    /// Whether an index of another table is equivalent.
    fn is_like(&self, other: &Index) -> bool {
        (self.is_unique, &self.definition) == (other.is_unique, &other.definition)
    }
}

/// The indexes that users created on a generation's table.
pub(super) async fn added(
    connection: &mut PgConnection,
    table: &TableSpec,
    generation: Generation,
) -> Result<Vec<Index>, StoreError> {
    let declared: Vec<String> = sql::index_names(table, generation).collect();
    let mut indexes = all(connection, table, generation).await?;
    indexes.retain(|index| !index.of_constraint && !declared.contains(&index.name));
    Ok(indexes)
}

/// Creates the users' indexes of the tables of `live` on the tables of `next`, unless an equivalent index exists.
/// Returns a sentence for each index that could not be created.
pub(super) async fn carry(
    connection: &mut PgConnection,
    live: &GenerationStatus,
    next: &GenerationStatus,
) -> Result<Vec<String>, StoreError> {
    let mut failed = Vec::new();
    for pair in pairs(&live.tables, &next.tables) {
        // The indexes of a removed table are removed too.
        let (Some(from), Some(to)) = (pair.live, pair.other) else { continue };
        let mut existing = all(connection, to, next.generation).await?;
        let mut created = false;
        for index in added(connection, from, live.generation).await?.into_iter().filter(|index| index.is_valid) {
            if existing.iter().any(|other| other.is_like(&index)) {
                continue;
            }
            match carry_one(connection, &index, to, live.generation, next.generation).await {
                Ok(()) => created = true,
                Err(StoreError::Refused { reason, .. }) => {
                    let on = sql::physical(from, live.generation);
                    failed.push(format!("index {} on {on}: {reason}", quoted(&index.name)));
                }
                Err(other) => return Err(other),
            }
            existing.push(index);
        }
        if created {
            // Expressions of an index have their own statistics.
            run(connection, to, format!("ANALYZE {}", sql::physical(to, next.generation))).await?;
        }
    }
    Ok(failed)
}

async fn carry_one(
    connection: &mut PgConnection,
    index: &Index,
    table: &TableSpec,
    from: Generation,
    to: Generation,
) -> Result<(), StoreError> {
    for name in carried_names(&index.name, table.name(), from, to) {
        if !is_taken(connection, &name).await? {
            // One message is one transaction.
            return run(connection, table, index.statements(&name, &sql::physical(table, to)).join("; ")).await;
        }
    }
    Ok(())
}

async fn is_taken(connection: &mut PgConnection, name: &str) -> Result<bool, StoreError> {
    const TAKEN: &str = "
        SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
                       WHERE s.nspname = $1 AND c.relname = $2)";
    let taken = sqlx::query_scalar(TAKEN).bind(sql::TABLES_SCHEMA).bind(name).fetch_one(connection).await;
    taken.map_err(at("checking the name of an index"))
}

async fn run(connection: &mut PgConnection, table: &TableSpec, statements: String) -> Result<(), StoreError> {
    let done = connection.execute(AssertSqlSafe(statements)).await;
    done.map(drop).map_err(at(format!("copying the indexes of table `{}`", table.name())))
}

/// All indexes of a generation's table. Operator classes and collations are explicit in their definitions, so that they
/// stay the same. `pg_get_indexdef` and `pg_get_expr` return expressions and conditions with unqualified columns.
async fn all(
    connection: &mut PgConnection,
    table: &TableSpec,
    generation: Generation,
) -> Result<Vec<Index>, StoreError> {
    const INDEXES: &str = "
        SELECT c.relname::text AS name, i.indisunique AS is_unique, i.indisvalid AS is_valid,
               EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND conrelid = i.indrelid
                       AND contype IN ('p', 'u', 'x')) AS of_constraint,
               concat(
                   format('USING %I (%s)', am.amname, key.text), ' INCLUDE (' || included.text || ')',
                   CASE WHEN to_jsonb(i) ->> 'indnullsnotdistinct' = 'true' THEN ' NULLS NOT DISTINCT' END,
                   (SELECT ' WITH (' || string_agg(format('%I=%L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)),
                                                   ', ') || ')'
                    FROM unnest(c.reloptions) AS o),
                   (SELECT format(' TABLESPACE %I', spcname) FROM pg_tablespace WHERE oid = c.reltablespace),
                   ' WHERE ' || pg_get_expr(i.indpred, i.indrelid)) AS definition,
               CASE WHEN key.is_plain AND am.amname = 'btree' AND included.text IS NULL AND NOT i.indisunique
                         AND i.indpred IS NULL AND c.reloptions IS NULL AND c.reltablespace = 0
                    THEN key.columns END AS columns,
               quote_literal(obj_description(c.oid, 'pg_class')) AS comment,
               (SELECT string_agg(format('ALTER COLUMN %s SET STATISTICS %s', attnum, attstattarget), ', ' ORDER BY attnum)
                FROM pg_attribute WHERE attrelid = c.oid AND attstattarget >= 0) AS statistics
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am am ON am.oid = c.relam,
        LATERAL (
            SELECT string_agg(concat(
                       pg_get_indexdef(i.indexrelid, n, false),
                       (SELECT format(' COLLATE %I.%I', s.nspname, k.collname)
                        FROM pg_collation k JOIN pg_namespace s ON s.oid = k.collnamespace
                        WHERE k.oid = i.indcollation[n - 1] AND k.oid IS DISTINCT FROM of.attcollation),
                       format(' %I.%I', s.nspname, o.opcname),
                       (SELECT ' (' || string_agg(format('%I=%L', split_part(p, '=', 1), substr(p, strpos(p, '=') + 1)),
                                                  ', ') || ')'
                        FROM pg_attribute a, unnest(a.attoptions) AS p WHERE a.attrelid = c.oid AND a.attnum = n),
                       CASE i.indoption[n - 1]
                           WHEN 1 THEN ' DESC NULLS LAST' WHEN 2 THEN ' ASC NULLS FIRST' WHEN 3 THEN ' DESC' END),
                       ', ' ORDER BY n) AS text,
                   array_agg(of.attname::text ORDER BY n) AS columns,
                   bool_and(of.attnum IS NOT NULL AND o.opcdefault AND i.indoption[n - 1] = 0
                            AND i.indcollation[n - 1] = of.attcollation) AS is_plain
            FROM generate_series(1, i.indnkeyatts::int) AS n
            JOIN pg_opclass o ON o.oid = i.indclass[n - 1]
            JOIN pg_namespace s ON s.oid = o.opcnamespace
            LEFT JOIN pg_attribute of
                ON of.attrelid = i.indrelid AND of.attnum = i.indkey[n - 1] AND i.indkey[n - 1] <> 0) AS key,
        LATERAL (
            SELECT string_agg(pg_get_indexdef(i.indexrelid, n, false), ', ' ORDER BY n) AS text
            FROM generate_series(i.indnkeyatts + 1, i.indnatts) AS n) AS included
        WHERE i.indrelid = to_regclass($1)
        ORDER BY c.relname";
    let rows = sqlx::query(INDEXES).bind(sql::physical(table, generation)).fetch_all(connection).await;
    let indexes: sqlx::Result<_> = rows.and_then(|rows| rows.iter().map(Index::read).collect());
    indexes.map_err(at(format!("reading the indexes of table `{}`", table.name())))
}
