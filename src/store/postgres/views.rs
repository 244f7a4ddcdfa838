//! The views with the stable names, which readers use. Each shows one generation.

use readcast_core::{Shown, ShownColumn};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::connection::at;
use super::sql::{self, quoted, stable};
use crate::store::{Generation, StoreError};

/// The statement that creates a view.
pub(super) fn create(shown: &Shown<'_>, generation: Generation, schema: &str) -> String {
    format!("CREATE VIEW {} AS {}", stable(schema, shown.name), select(shown, &shown.columns, generation))
}

/// The query of a view with these columns.
fn select(shown: &Shown<'_>, columns: &[ShownColumn<'_>], generation: Generation) -> String {
    let column =
        |shown: &ShownColumn<'_>| format!("t{}.{} AS {}", shown.from, quoted(shown.column.name()), quoted(shown.name));
    let columns: Vec<_> = columns.iter().map(column).collect();
    let mut from = format!("{} AS t0", sql::physical(shown.table, generation));
    for ((table, on), number) in shown.joins.iter().zip(1..) {
        let key = table.key_columns().iter().zip(*on);
        let on: Vec<_> =
            key.map(|(key, own)| format!("t{number}.{} = t0.{}", quoted(key.name()), quoted(own))).collect();
        from += &format!(" LEFT JOIN {} AS t{number} ON {}", sql::physical(table, generation), on.join(" AND "));
    }
    format!("SELECT {} FROM {from}", columns.join(", "))
}

/// An existing view.
pub(super) struct View<'a> {
    connection: &'a mut PgConnection,
    name: String,
}

/// A column of a view: its name, and its type as `format_type` spells it.
type ViewColumn = (String, String);

impl<'a> View<'a> {
    pub(super) fn new(connection: &'a mut PgConnection, schema: &str, table: &str) -> Self {
        Self { connection, name: stable(schema, table) }
    }

    /// The kind of the relation that has the view's name. `None` if the name is free.
    pub(super) async fn kind(&mut self) -> Result<Option<&'static str>, StoreError> {
        const KIND: &str = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)";
        let kind = sqlx::query_scalar(KIND).bind(&self.name).fetch_optional(&mut *self.connection).await;
        let kind: Option<String> = kind.map_err(at(format!("reading {}", self.name)))?;
        Ok(kind.map(|kind| match kind.as_str() {
            "r" | "p" => "table",
            "v" => "view",
            "m" => "materialized view",
            _ => "relation of another kind",
        }))
    }

    /// What is wrong with the view as the view of `generation`. `None` if it is correct. The order of its columns may
    /// differ from the table's, because a swap keeps the order of the existing view.
    pub(super) async fn problem(
        &mut self,
        shown: &Shown<'_>,
        generation: Generation,
    ) -> Result<Option<String>, StoreError> {
        const READS: &str = "
            SELECT EXISTS (
                SELECT FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                WHERE r.ev_class = to_regclass($1) AND d.refobjid = to_regclass($2))
            AND $3::text[] = (
                SELECT array_agg(attname::text ORDER BY attname::text COLLATE \"C\") FROM pg_attribute
                WHERE attrelid = to_regclass($1) AND attnum > 0)";
        let mut columns: Vec<&str> = shown.columns.iter().map(|column| column.name).collect();
        columns.sort_unstable();
        let physical = sql::physical(shown.table, generation);
        let query = sqlx::query_scalar(READS).bind(&self.name).bind(physical).bind(columns);
        // NULL if the view does not exist.
        let reads: Option<bool> = query.fetch_one(&mut *self.connection).await.map_err(self.reading())?;
        let is_correct = reads.unwrap_or(false);
        Ok((!is_correct)
            .then(|| format!("{} is not the view of generation {} that readcast created", self.name, generation.0)))
    }

    /// The statements that make the view show `next` of `generation`.
    ///
    /// If no column is removed or changes its type, the view is replaced in place, which keeps privileges and dependent
    /// objects. Otherwise it is dropped and created again with the same privileges.
    pub(super) async fn show(&mut self, next: &Shown<'_>, generation: Generation) -> Result<Vec<String>, StoreError> {
        let name = self.name.clone();
        let existing = self.columns().await?;
        let known = |old: &ViewColumn| next.columns.iter().find(|column| of(column) == *old).copied();
        let kept: Option<Vec<ShownColumn<'_>>> = existing.iter().map(known).collect();
        let options = self.options().await?;
        let Some(mut columns) = kept else {
            let mut statements = vec![format!("DROP VIEW {name}")];
            statements.push(format!("CREATE VIEW {name}{options} AS {}", select(next, &next.columns, generation)));
            let still_there = |grant: &Grant| {
                grant.column.as_ref().is_none_or(|name| next.columns.iter().any(|column| column.name == name))
            };
            let grants = self.grants().await?;
            statements.extend(grants.iter().filter(|grant| still_there(grant)).map(|grant| grant.statement(&name)));
            statements.extend(self.comment().await?);
            return Ok(statements);
        };
        columns.extend(next.columns.iter().filter(|column| !existing.contains(&of(column))));
        Ok(vec![format!("CREATE OR REPLACE VIEW {name}{options} AS {}", select(next, &columns, generation))])
    }

    /// Why the view can't be replaced in place by a view of `next`, a sentence each.
    pub(super) async fn incompatible(&mut self, next: &Shown<'_>) -> Result<Vec<String>, StoreError> {
        let existing = self.columns().await?;
        let incompatible = existing.iter().filter_map(|(name, was)| {
            let stable = &self.name;
            match next.columns.iter().find(|column| column.name == name).map(of) {
                None => Some(format!("{stable} loses column `{name}`")),
                Some((_, now)) if now != *was => {
                    Some(format!("column `{name}` of {stable} changes from {was} to {now}"))
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
        dependents.map_err(self.reading())
    }

    /// The privileges on the view and its columns, without those of the owner.
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
        grants.map_err(self.reading())
    }

    async fn columns(&mut self) -> Result<Vec<ViewColumn>, StoreError> {
        const COLUMNS: &str = "
            SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = to_regclass($1) AND attnum > 0 ORDER BY attnum";
        let existing = sqlx::query_as(COLUMNS).bind(&self.name).fetch_all(&mut *self.connection).await;
        existing.map_err(self.reading())
    }

    /// The options of the view, such as `security_invoker`. Replacing the view would drop them.
    async fn options(&mut self) -> Result<String, StoreError> {
        const OPTIONS: &str = "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass($1)";
        let options = sqlx::query_scalar(OPTIONS).bind(&self.name).fetch_optional(&mut *self.connection).await;
        let options: Option<Option<String>> = options.map_err(self.reading())?;
        Ok(options.flatten().map(|options| format!(" WITH ({options})")).unwrap_or_default())
    }

    async fn comment(&mut self) -> Result<Option<String>, StoreError> {
        const COMMENT: &str = "SELECT quote_literal(obj_description(to_regclass($1), 'pg_class'))";
        let comment = sqlx::query_scalar(COMMENT).bind(&self.name).fetch_one(&mut *self.connection).await;
        let comment: Option<String> = comment.map_err(self.reading())?;
        Ok(comment.map(|comment| format!("COMMENT ON VIEW {} IS {comment}", self.name)))
    }

    fn reading(&self) -> impl FnOnce(sqlx::Error) -> StoreError + use<> {
        at(format!("reading the view {}", self.name))
    }
}

fn of(shown: &ShownColumn<'_>) -> ViewColumn {
    (shown.name.to_owned(), sql::column_type(shown.column))
}

/// A privilege on a view.
pub(super) struct Grant {
    column: Option<String>,
    privilege: String,
    grantable: bool,
    /// A quoted role, or PUBLIC.
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

/// Executes statements without parameters and results, in one message.
pub(super) async fn execute_all(connection: &mut PgConnection, statements: &[String]) -> sqlx::Result<()> {
    let script = statements.join(";\n");
    sqlx::raw_sql(AssertSqlSafe(script)).execute(connection).await.map(drop)
}
