//! Finds the objects that users added to the live tables and their views: everything in the catalogs that readcast
//! itself did not create.

use readcast_core::{Column, Definition, Presence, Shown, TableSpec};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::connection::at;
use super::indexes::{self, Index};
use super::sql::{self, quoted, stable};
use super::views::View;
use crate::store::comparison::pairs;
use crate::store::{AdditionFate, GenerationStatus, StoreError, UserAddition};

/// The objects that users added to the live tables and views, and the effect of a swap to the tables of `next` on them.
pub(super) async fn additions(
    connection: &mut PgConnection,
    schema: &str,
    live: &GenerationStatus,
    next: &Definition,
) -> Result<Vec<UserAddition>, StoreError> {
    let mut found = Vec::new();
    for pair in pairs(&live.tables, next.tables()) {
        let Some(table) = pair.live else { continue };
        let has_successor = pair.other.is_some();
        let physical = sql::physical(table, live.generation);
        let users = indexes::added(connection, table, live.generation).await?;
        found.extend(users.iter().map(|index| of_index(index, &physical, has_successor)));
        found.extend(of_table(connection, table, &physical).await?);
    }
    for pair in pairs(&Shown::all(&live.tables), &Shown::all(next.tables())).iter().filter(|pair| pair.live.is_some()) {
        let view = match pair.other {
            None => ViewFate::Dropped,
            Some(next) if View::new(connection, schema, pair.name).incompatible(next).await?.is_empty() => {
                ViewFate::Replaced
            }
            Some(_) => ViewFate::Recreated,
        };
        found.extend(of_view(connection, &stable(schema, pair.name), view).await?);
    }
    Ok(found)
}

fn of_index(index: &Index, physical: &str, has_successor: bool) -> UserAddition {
    let columns = index.columns.as_ref().map(|columns| format!(".index({columns:?})"));
    let kind = if index.is_valid { "index" } else { "invalid index" };
    UserAddition {
        on: physical.to_owned(),
        what: format!("{kind} {}", quoted(&index.name)),
        statement: index.statement(physical),
        declaration: columns,
        fate: if has_successor && index.is_valid { AdditionFate::Carriable } else { AdditionFate::Lost },
    }
}

/// The effect of a swap on a view.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ViewFate {
    Replaced,
    Recreated,
    Dropped,
}

/// A SELECT that finds one kind of addition to a relation. `t` is the relation's row in `pg_class`, and `$1` is its
/// name. The columns are the addition, the statement that creates it, its declaration in a `TableSpec`, and whether it
/// is kept when the view is created again.
type CatalogQuery = &'static str;

/// Additions to tables and views.
const OF_BOTH: [CatalogQuery; 7] = [
    // The expected owner is the current role, or the role that created readcast's own tables.
    "SELECT format('owner %I', pg_get_userbyid(t.relowner)),
            format('ALTER TABLE %s OWNER TO %I', $1, pg_get_userbyid(t.relowner)), NULL, false
     FROM t WHERE pg_get_userbyid(t.relowner) <> current_user AND t.relowner <> (
         SELECT relowner FROM pg_class WHERE oid = 'readcast.generations'::regclass)",
    "SELECT format('trigger %I', tgname), concat(pg_get_triggerdef(g.oid), CASE tgenabled
                WHEN 'D' THEN format('; ALTER TABLE %s DISABLE TRIGGER %I', $1, tgname)
                WHEN 'R' THEN format('; ALTER TABLE %s ENABLE REPLICA TRIGGER %I', $1, tgname)
                WHEN 'A' THEN format('; ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', $1, tgname) END), NULL, false
     FROM t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal",
    "SELECT format('rule %I', rulename), rtrim(pg_get_ruledef(r.oid), ';'), NULL, false
     FROM t JOIN pg_rewrite r ON r.ev_class = t.oid AND r.rulename <> '_RETURN'",
    "SELECT 'comment', format('COMMENT ON %s %s IS %L', CASE t.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, $1,
                              d.description), NULL, true
     FROM t JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = t.oid AND d.objsubid = 0",
    "SELECT format('comment on column %I', a.attname),
            format('COMMENT ON COLUMN %s.%I IS %L', $1, a.attname, d.description), NULL, false
     FROM t JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = t.oid
     JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.objsubid AND a.attnum > 0",
    "SELECT format('security label of %I', l.provider),
            format('SECURITY LABEL FOR %I ON %s %s IS %L', l.provider, upper(l.objtype), l.objname, l.label), NULL, false
     FROM t JOIN pg_seclabels l ON l.classoid = 'pg_class'::regclass AND l.objoid = t.oid",
    // Default privileges apply to the new table again, so they are not additions.
    "SELECT format('privilege %s%s for %s', held.privilege_type, held.columns, held.who),
            format('GRANT %s%s ON %s TO %s%s', held.privilege_type, held.columns, $1, held.who,
                   CASE WHEN held.is_grantable THEN ' WITH GRANT OPTION' END), NULL, true
     FROM (
         SELECT t.relowner, t.relnamespace, acl.*, columns,
                CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS who
         FROM t, LATERAL (
             SELECT NULL AS columns, t.relacl AS acl
             UNION ALL
             SELECT format(' (%I)', attname), attacl FROM pg_attribute
             WHERE attrelid = t.oid AND attnum > 0 AND NOT attisdropped) AS lists, aclexplode(lists.acl) AS acl) AS held
     WHERE held.grantee <> held.relowner AND NOT (held.columns IS NULL AND EXISTS (
         SELECT FROM pg_default_acl d, aclexplode(d.defaclacl) AS given
         WHERE d.defaclrole = held.relowner AND d.defaclobjtype = 'r' AND d.defaclnamespace IN (0, held.relnamespace)
           AND (given.grantee, given.privilege_type, given.is_grantable)
               = (held.grantee, held.privilege_type, held.is_grantable)))",
];

/// Additions to tables only. `$2` are the declared storage parameters, `$3` the columns with a declared default. A
/// default of any other column is an addition.
const OF_TABLES: [CatalogQuery; 14] = [
    "SELECT format('constraint %I', conname),
            format('ALTER TABLE %s ADD CONSTRAINT %I %s', $1, conname, pg_get_constraintdef(k.oid)), NULL, false
     FROM t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype IN ('c', 'f', 'u', 'x')",
    "SELECT format('statistics %I', stxname), pg_get_statisticsobjdef(x.oid), NULL, false
     FROM t JOIN pg_statistic_ext x ON x.stxrelid = t.oid",
    "SELECT format('storage parameter %s', split_part(option, '=', 1)),
            format('ALTER TABLE %s SET (%s = %L)', $1, split_part(option, '=', 1),
                   substr(option, strpos(option, '=') + 1)),
            format('.storage(\"%s\", \"%s\")', split_part(option, '=', 1), substr(option, strpos(option, '=') + 1)), false
     FROM t, LATERAL (
         SELECT unnest(t.reloptions)
         UNION ALL
         SELECT 'toast.' || unnest(reloptions) FROM pg_class WHERE oid = t.reltoastrelid) AS options(option)
     WHERE option <> ALL ($2)",
    "SELECT 'replica identity', format('ALTER TABLE %s REPLICA IDENTITY %s', $1, CASE t.relreplident
                WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE (
                    SELECT format('USING INDEX %I', c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                    WHERE i.indrelid = t.oid AND i.indisreplident) END), NULL, false
     FROM t WHERE t.relreplident <> 'd'",
    "SELECT 'row-level security', format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', $1), NULL, false
     FROM t WHERE t.relrowsecurity",
    "SELECT 'row-level security for the owner', format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', $1), NULL, false
     FROM t WHERE t.relforcerowsecurity",
    "SELECT format('policy %I', polname),
            concat(format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', polname, $1,
                          CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                          CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                      WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                          (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END,
                                             ', ') FROM unnest(polroles) AS role)),
                   ' USING (' || pg_get_expr(polqual, polrelid) || ')',
                   ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')'), NULL, false
     FROM t JOIN pg_policy p ON p.polrelid = t.oid",
    // Column lists and conditions exist since version 15. A publication of all tables includes the next ones by itself.
    "SELECT format('membership in publication %I', p.pubname),
            format('ALTER PUBLICATION %I ADD TABLE %s%s%s', p.pubname, $1, (
                       SELECT format(' (%s)', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum))
                       FROM pg_attribute a WHERE a.attrelid = t.oid
                         AND to_jsonb(m) -> 'prattrs' @> to_jsonb(a.attnum)
                       HAVING count(*) > 0), (
                       SELECT format(' WHERE (%s)', to_jsonb(listed) ->> 'rowfilter') FROM pg_publication_tables listed
                       WHERE listed.pubname = p.pubname AND listed.schemaname = t.relnamespace::regnamespace::name
                         AND listed.tablename = t.relname AND to_jsonb(listed) ->> 'rowfilter' IS NOT NULL)), NULL, false
     FROM t JOIN pg_publication_rel m ON m.prrelid = t.oid JOIN pg_publication p ON p.oid = m.prpubid",
    "SELECT format('clustering by %I', c.relname), format('ALTER TABLE %s CLUSTER ON %I', $1, c.relname), NULL, false
     FROM t JOIN pg_index i ON i.indrelid = t.oid AND i.indisclustered JOIN pg_class c ON c.oid = i.indexrelid",
    "SELECT 'parent ' || inhparent::regclass, CASE WHEN t.relispartition
                THEN format('ALTER TABLE %s ATTACH PARTITION %s %s', inhparent::regclass, $1,
                            pg_get_expr(t.relpartbound, t.oid))
                ELSE format('ALTER TABLE %s INHERIT %s', $1, inhparent::regclass) END, NULL, false
     FROM t JOIN pg_inherits h ON h.inhrelid = t.oid",
    "SELECT 'child ' || inhrelid::regclass, format('ALTER TABLE %s INHERIT %s', inhrelid::regclass, $1), NULL, false
     FROM t JOIN pg_inherits h ON h.inhparent = t.oid",
    // Settings of the session apply to the new table again, so they are not additions.
    "SELECT stays.what, format('ALTER TABLE %s SET %s', $1, stays.statement), NULL, false
     FROM t, pg_database d, LATERAL (
         SELECT 'unlogged', 'UNLOGGED' WHERE t.relpersistence = 'u'
         UNION ALL
         SELECT 'tablespace', format('TABLESPACE %I', spcname) FROM pg_tablespace s
         WHERE s.oid = coalesce(nullif(t.reltablespace, 0), d.dattablespace)
           AND s.spcname <> coalesce(nullif(current_setting('default_tablespace'), ''), (
               SELECT spcname FROM pg_tablespace WHERE oid = d.dattablespace))
         UNION ALL
         SELECT 'access method', format('ACCESS METHOD %I', m.amname) FROM pg_am m
         WHERE m.oid = t.relam AND m.amname <> current_setting('default_table_access_method')) AS stays(what, statement)
     WHERE d.datname = current_database()",
    "SELECT format('%s of column %I', had.what, a.attname),
            format('ALTER TABLE %s ALTER COLUMN %I %s', $1, a.attname, had.statement), NULL, false
     FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
     JOIN pg_type y ON y.oid = a.atttypid, LATERAL (
         SELECT 'statistics target', format('SET STATISTICS %s', a.attstattarget) WHERE a.attstattarget >= 0
         UNION ALL
         SELECT 'storage', format('SET STORAGE %s', CASE a.attstorage
                    WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END)
         WHERE a.attstorage <> y.typstorage
         UNION ALL
         SELECT 'compression', format('SET COMPRESSION %s', CASE to_jsonb(a) ->> 'attcompression'
                    WHEN 'l' THEN 'lz4' ELSE 'pglz' END)
         WHERE to_jsonb(a) ->> 'attcompression' <> ''
         UNION ALL
         SELECT 'options', format('SET (%s)', string_agg(
                    format('%I = %L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', '))
         FROM unnest(a.attoptions) AS o HAVING count(*) > 0
         UNION ALL
         SELECT 'identity', format('ADD GENERATED %s AS IDENTITY', CASE a.attidentity
                    WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END)
         WHERE a.attidentity <> '') AS had(what, statement)",
    "SELECT format('default of column %I', a.attname),
            format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', $1, a.attname, pg_get_expr(e.adbin, e.adrelid)),
            NULL, false
     FROM t JOIN pg_attrdef e ON e.adrelid = t.oid
     JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = e.adnum AND a.attgenerated = ''
     WHERE a.attname <> ALL ($3)",
];

/// Additions to views only.
const OF_VIEWS: [CatalogQuery; 2] = [
    "SELECT format('option %s', split_part(option, '=', 1)), format('ALTER VIEW %s SET (%s)', $1, option), NULL, true
     FROM t, unnest(t.reloptions) AS option",
    "SELECT format('default of column %I', a.attname),
            format('ALTER VIEW %s ALTER COLUMN %I SET DEFAULT %s', $1, a.attname, pg_get_expr(e.adbin, e.adrelid)),
            NULL, false
     FROM t JOIN pg_attrdef e ON e.adrelid = t.oid
     JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = e.adnum",
];

/// All queries as one statement.
fn combined<'q>(queries: impl IntoIterator<Item = &'q CatalogQuery>) -> String {
    let queries: Vec<_> = queries.into_iter().map(|query| format!("({query})")).collect();
    format!(
        "WITH t AS (SELECT * FROM pg_class WHERE oid = to_regclass($1)) \
         SELECT * FROM ({}) AS found(what, statement, declaration, stays) ORDER BY what COLLATE \"C\", statement",
        queries.join(" UNION ALL ")
    )
}

async fn of_table(
    connection: &mut PgConnection,
    table: &TableSpec,
    physical: &str,
) -> Result<Vec<UserAddition>, StoreError> {
    let declared = table.storage_parameters().iter();
    let declared: Vec<String> = declared.map(|(parameter, value)| format!("{parameter}={value}")).collect();
    let has_default = |column: &&Column| matches!(column.presence(), Presence::Default(_));
    let defaults: Vec<&str> = table.columns().iter().filter(has_default).map(Column::name).collect();
    let query = combined(OF_BOTH.iter().chain(&OF_TABLES));
    let query = sqlx::query(AssertSqlSafe(query)).bind(physical).bind(declared).bind(defaults);
    let rows = query.fetch_all(connection).await;
    let read = |row: &PgRow| read(row, physical, AdditionFate::Lost);
    let found: sqlx::Result<_> = rows.and_then(|rows| rows.iter().map(read).collect());
    found.map_err(at(format!("finding additions to {physical}")))
}

async fn of_view(connection: &mut PgConnection, name: &str, fate: ViewFate) -> Result<Vec<UserAddition>, StoreError> {
    let query = combined(OF_BOTH.iter().chain(&OF_VIEWS));
    let rows = sqlx::query(AssertSqlSafe(query)).bind(name).fetch_all(connection).await;
    let read = |row: &PgRow| {
        let stays = fate == ViewFate::Replaced || (fate == ViewFate::Recreated && row.try_get("stays")?);
        read(row, name, if stays { AdditionFate::Kept } else { AdditionFate::Lost })
    };
    let found: sqlx::Result<_> = rows.and_then(|rows| rows.iter().map(read).collect());
    found.map_err(at(format!("finding additions to {name}")))
}

fn read(row: &PgRow, on: &str, fate: AdditionFate) -> sqlx::Result<UserAddition> {
    Ok(UserAddition {
        on: on.to_owned(),
        what: row.try_get("what")?,
        statement: row.try_get("statement")?,
        declaration: row.try_get("declaration")?,
        fate,
    })
}
