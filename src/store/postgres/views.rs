//! The stable names: views that readers know, and that always show one whole generation.

use readcast_core::{Column, TableSpec};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::connection::at;
use super::sql::{self, column_list, quoted, stable};
use crate::store::{Generation, StoreError};

/// The view of a table that has none yet.
pub(super) fn create(table: &TableSpec, generation: Generation, schema: &str) -> String {
    let (stable, physical) = (stable(schema, table.name()), sql::physical(table, generation));
    format!("CREATE VIEW {stable} AS SELECT {} FROM {physical}", column_list(table.columns()))
}

/// A view as it stands.
pub(super) struct View<'a> {
    connection: &'a mut PgConnection,
    name: String,
}

/// A column of a view: its name, and its type as `format_type` spells it.
type Shape = (String, String);

impl<'a> View<'a> {
    pub(super) fn new(connection: &'a mut PgConnection, schema: &str, table: &str) -> Self {
        Self { connection, name: stable(schema, table) }
    }

    /// What has the name, if anything has.
    pub(super) async fn kind(&mut self) -> Result<Option<&'static str>, StoreError> {
        const KIND: &str = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)";
        let kind = sqlx::query_scalar(KIND).bind(&self.name).fetch_optional(&mut *self.connection).await;
        let kind: Option<String> = kind.map_err(at(format!("looking for {}", self.name)))?;
        Ok(kind.map(|kind| match kind.as_str() {
            "r" | "p" => "table",
            "v" => "view",
            "m" => "materialized view",
            _ => "relation of another kind",
        }))
    }

    /// What is wrong with it, as the name under which readers see `generation`. Its columns may stand in an order of
    /// their own: a swap keeps the one that readers know.
    pub(super) async fn fault(
        &mut self,
        table: &TableSpec,
        generation: Generation,
    ) -> Result<Option<String>, StoreError> {
        const READS: &str = "
            SELECT EXISTS (
                SELECT FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                WHERE r.ev_class = to_regclass($1) AND d.refobjid = to_regclass($2))
            AND $3::text[] = (
                SELECT array_agg(attname::text ORDER BY attname::text COLLATE \"C\") FROM pg_attribute
                WHERE attrelid = to_regclass($1) AND attnum > 0)";
        let mut columns: Vec<&str> = table.columns().iter().map(Column::name).collect();
        columns.sort_unstable();
        let physical = sql::physical(table, generation);
        let query = sqlx::query_scalar(READS).bind(&self.name).bind(physical).bind(columns);
        // NULL where there is no such view.
        let reads: Option<bool> = query.fetch_one(&mut *self.connection).await.map_err(self.looking())?;
        let ours = reads.unwrap_or(false);
        Ok((!ours).then(|| format!("{} is not the view of generation {} that readcast made", self.name, generation.0)))
    }

    /// The statements that make it show `generation`, whose table is `next`.
    ///
    /// Where readers lose nothing, the view is replaced in place: privileges and what users have built on it stay. Where
    /// a column went or changed its type, it has to be made anew, with the same privileges.
    pub(super) async fn show(&mut self, next: &TableSpec, generation: Generation) -> Result<Vec<String>, StoreError> {
        let (name, physical) = (self.name.clone(), sql::physical(next, generation));
        let shapes = self.shapes().await?;
        let known = |shape: &Shape| next.columns().iter().find(|column| of(column) == *shape);
        let kept: Option<Vec<&Column>> = shapes.iter().map(known).collect();
        let options = self.options().await?;
        let Some(mut columns) = kept else {
            let mut statements = vec![format!("DROP VIEW {name}")];
            let columns = column_list(next.columns());
            statements.push(format!("CREATE VIEW {name}{options} AS SELECT {columns} FROM {physical}"));
            let still_there = |grant: &Grant| {
                grant.column.as_ref().is_none_or(|name| next.columns().iter().any(|column| column.name() == name))
            };
            let grants = self.grants().await?;
            statements.extend(grants.iter().filter(|grant| still_there(grant)).map(|grant| grant.statement(&name)));
            statements.extend(self.comment().await?);
            return Ok(statements);
        };
        columns.extend(next.columns().iter().filter(|column| !shapes.contains(&of(column))));
        let columns = column_list(columns);
        Ok(vec![format!("CREATE OR REPLACE VIEW {name}{options} AS SELECT {columns} FROM {physical}")])
    }

    /// Why it can't be replaced in place by a view of `next`, a sentence each.
    pub(super) async fn incompatible(&mut self, next: &TableSpec) -> Result<Vec<String>, StoreError> {
        let shapes = self.shapes().await?;
        let incompatible = shapes.iter().filter_map(|(name, was)| {
            let stable = &self.name;
            match next.columns().iter().find(|column| column.name() == name) {
                None => Some(format!("{stable} loses column `{name}`")),
                Some(column) if sql::column_type(column) != *was => {
                    Some(format!("column `{name}` of {stable} becomes {}; it is {was}", sql::column_type(column)))
                }
                Some(_) => None,
            }
        });
        Ok(incompatible.collect())
    }

    /// What users have made of it: views, functions and the like.
    pub(super) async fn dependents(&mut self) -> Result<Vec<String>, StoreError> {
        const DEPENDENTS: &str = "
            SELECT DISTINCT coalesce(
                (SELECT CASE c.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || c.oid::regclass
                 FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
                 WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid),
                pg_describe_object(d.classid, d.objid, d.objsubid)) AS dependent
            FROM pg_depend d
            WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass($1) AND d.deptype = 'n'
              AND NOT EXISTS (
                SELECT FROM pg_rewrite r WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
                  AND r.ev_class = d.refobjid)
            ORDER BY dependent";
        let dependents = sqlx::query_scalar(DEPENDENTS).bind(&self.name).fetch_all(&mut *self.connection).await;
        dependents.map_err(self.looking())
    }

    /// The privileges that were granted on it and its columns, the owner's own aside.
    pub(super) async fn grants(&mut self) -> Result<Vec<Grant>, StoreError> {
        const GRANTS: &str = "
            SELECT held.column_name, held.privilege_type, held.is_grantable,
                   CASE held.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(held.grantee)) END AS grantee
            FROM pg_class c, LATERAL (
                SELECT NULL AS column_name, acl.* FROM aclexplode(c.relacl) acl
                UNION ALL
                SELECT a.attname::text, acl.* FROM pg_attribute a, LATERAL aclexplode(a.attacl) acl
                WHERE a.attrelid = c.oid AND a.attnum > 0) AS held
            WHERE c.oid = to_regclass($1) AND held.grantee <> c.relowner
            ORDER BY 4, 1 NULLS FIRST, 2";
        let rows = sqlx::query(GRANTS).bind(&self.name).fetch_all(&mut *self.connection).await;
        let grants: sqlx::Result<_> = rows.and_then(|rows| rows.iter().map(Grant::read).collect());
        grants.map_err(self.looking())
    }

    async fn shapes(&mut self) -> Result<Vec<Shape>, StoreError> {
        const SHAPES: &str = "
            SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = to_regclass($1) AND attnum > 0 ORDER BY attnum";
        let shapes = sqlx::query_as(SHAPES).bind(&self.name).fetch_all(&mut *self.connection).await;
        shapes.map_err(self.looking())
    }

    /// What it was created WITH, such as `security_invoker`: replacing it would take that away.
    async fn options(&mut self) -> Result<String, StoreError> {
        const OPTIONS: &str = "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass($1)";
        let options = sqlx::query_scalar(OPTIONS).bind(&self.name).fetch_optional(&mut *self.connection).await;
        let options: Option<Option<String>> = options.map_err(self.looking())?;
        Ok(options.flatten().map(|options| format!(" WITH ({options})")).unwrap_or_default())
    }

    async fn comment(&mut self) -> Result<Option<String>, StoreError> {
        const COMMENT: &str = "SELECT quote_literal(obj_description(to_regclass($1), 'pg_class'))";
        let comment = sqlx::query_scalar(COMMENT).bind(&self.name).fetch_one(&mut *self.connection).await;
        let comment: Option<String> = comment.map_err(self.looking())?;
        Ok(comment.map(|comment| format!("COMMENT ON VIEW {} IS {comment}", self.name)))
    }

    fn looking(&self) -> impl FnOnce(sqlx::Error) -> StoreError + use<> {
        at(format!("looking at the view {}", self.name))
    }
}

fn of(column: &Column) -> Shape {
    (column.name().to_owned(), sql::column_type(column))
}

/// A privilege that somebody has on a view.
pub(super) struct Grant {
    column: Option<String>,
    privilege: String,
    grantable: bool,
    /// Quoted, or PUBLIC.
    grantee: String,
}

impl Grant {
    fn read(row: &sqlx::postgres::PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            column: row.try_get("column_name")?,
            privilege: row.try_get("privilege_type")?,
            grantable: row.try_get("is_grantable")?,
            grantee: row.try_get("grantee")?,
        })
    }

    pub(super) fn statement(&self, view: &str) -> String {
        let Self { privilege, grantee, .. } = self;
        let column = self.column.as_ref().map(|column| format!(" ({})", quoted(column))).unwrap_or_default();
        let option = if self.grantable { " WITH GRANT OPTION" } else { "" };
        format!("GRANT {privilege}{column} ON {view} TO {grantee}{option}")
    }
}

/// Runs statements that take no parameters and return no rows, in one message.
pub(super) async fn execute_all(connection: &mut PgConnection, statements: &[String]) -> sqlx::Result<()> {
    let script = statements.join(";\n");
    sqlx::raw_sql(AssertSqlSafe(script)).execute(connection).await.map(drop)
}
