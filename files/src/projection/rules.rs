//! The rules of a projection: `[[on]]`.

mod operation;

use std::ops::Range;

use readcast_core::{Column, ColumnType, Presence, TableSpec};

pub(crate) use self::operation::OPERATIONS;
pub(super) use self::operation::Operation;
use self::operation::misused;
use super::tables::required;
use crate::datum::{Shape, Step, to_column};
use crate::document::{Item, Loader, Section};
use crate::expression::{Expression, Kind, Names};

/// What happens to one table at events of some types.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) types: Vec<String>,
    /// What the rule reads of the data.
    pub(super) shape: Shape,
    /// What of that may be missing.
    pub(super) optional: Shape,
    /// Where the rule stands: `orders.toml:7`.
    pub(super) place: String,
    pub(super) when: Option<Expression>,
    pub(super) foreach: Option<Expression>,
    pub(super) table: String,
    pub(super) action: Action,
}

/// A change of a table.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Upsert {
        key: Vec<Target>,
        cells: Vec<Cell>,
    },
    Update {
        key: Vec<Target>,
        cells: Vec<Cell>,
    },
    Delete {
        key: Vec<Target>,
    },
    UpdateWhere {
        selected: Target,
        cells: Vec<Cell>,
    },
    /// One row for each item, with a value for each column behind those of the parent.
    ReplaceChildren {
        parent: Vec<Target>,
        row: Vec<Target>,
    },
}

/// A value for a column.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) column: String,
    pub(super) column_type: ColumnType,
    pub(super) value: Expression,
}

/// An operation on a column.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) operation: Operation,
    pub(super) target: Target,
}

pub(crate) const ACTIONS: [&str; 5] = ["upsert", "update", "delete", "update_where", "replace_children"];

/// The keys of a rule beside its action and its operations.
const KEYS: [&str; 6] = ["description", "event", "when", "foreach", "key", "where"];

pub(super) fn load(loader: &mut Loader, tables: &[TableSpec], section: &Section<'_>) -> Option<Rule> {
    let operations = OPERATIONS.map(|(name, _)| name);
    loader.only(section, &[&KEYS[..], &ACTIONS, &operations].concat());
    let types = required(loader, section, "event").map(|item| loader.texts("event", item)).unwrap_or_default();
    let types = types.into_iter().map(|(name, _)| name).collect();
    let actions: Vec<&str> = ACTIONS.into_iter().filter(|action| section.get(action).is_some()).collect();
    let [action] = actions.as_slice() else {
        let help = format!("write one of {} = \"TABLE\"", ACTIONS.join(", "));
        let message = if actions.is_empty() { "the rule changes no table" } else { "the rule has several actions" };
        loader.advise(section.span.clone(), message, help);
        return None;
    };
    let item = section.get(action)?;
    let name = loader.text(action, item)?;
    let Some(table) = tables.iter().find(|table| table.name() == name) else {
        let known: Vec<&str> = tables.iter().map(TableSpec::name).collect();
        loader.unknown(item.span(), format!("table `{name}` is not declared"), &name, known.iter().copied());
        return None;
    };
    let mut rule = RuleLoader { loader, section, table, names: Names::default() };
    let when = section.get("when").and_then(|item| rule.condition(item));
    // The key of a parent is the same for all children, so it knows no item.
    let parent = (*action == "replace_children").then(|| rule.parent());
    let foreach = section.get("foreach").and_then(|item| rule.foreach(item));
    let action = match parent {
        Some(parent) => rule.children(parent?)?,
        None => rule.action(action)?,
    };
    let Names { shape, optional, .. } = std::mem::take(&mut rule.names);
    let place = loader.document.line(section.span.start);
    Some(Rule { types, shape, optional, place, when, foreach, table: name, action })
}

struct RuleLoader<'l, 'd> {
    loader: &'l mut Loader,
    section: &'l Section<'d>,
    table: &'l TableSpec,
    names: Names,
}

impl RuleLoader<'_, '_> {
    fn compile(&mut self, what: &str, item: &Item<'_>) -> Option<Expression> {
        let text = self.loader.text(what, item)?;
        self.loader.expression(item, &text, &mut self.names)
    }

    fn condition(&mut self, item: &Item<'_>) -> Option<Expression> {
        let condition = self.compile("when", item)?;
        if !condition.kind().may_be(Kind::Bool) {
            self.loader.error(item.span(), format!("`when` must be true or false, not {}", condition.kind()));
        }
        Some(condition)
    }

    /// The list whose items the rule is for. It has two variables more: `item`, and its number `index` from 0.
    fn foreach(&mut self, item: &Item<'_>) -> Option<Expression> {
        let list = self.compile("foreach", item)?;
        if !list.kind().may_be(Kind::List) {
            self.loader.error(item.span(), format!("`foreach` takes a list, not {}", list.kind()));
        }
        let place = list.place().map(|place| [place, &[Step::Items]].concat());
        self.names.push("item", Kind::Any, place);
        self.names.push("index", Kind::Int, None);
        Some(list)
    }

    fn action(&mut self, action: &str) -> Option<Action> {
        let table = self.table;
        if action == "update_where" {
            let selected = self.selection()?;
            return Some(Action::UpdateWhere { selected, cells: self.cells() });
        }
        let key = self.key(table.key_columns())?;
        Some(match action {
            "upsert" => {
                let cells = self.cells();
                self.sets_what_it_must(&cells);
                Action::Upsert { key, cells }
            }
            "update" => Action::Update { key, cells: self.cells() },
            _ => {
                for (operation, _) in OPERATIONS {
                    if let Some(span) = self.section.key_span(operation) {
                        self.loader.error(span, format!("`delete` has no `{operation}`: the row is gone"));
                    }
                }
                Action::Delete { key }
            }
        })
    }

    /// The values of the first of `columns`: as many as `key` has, which are all of them except for a parent's.
    fn key(&mut self, columns: &[Column]) -> Option<Vec<Target>> {
        let item = required(self.loader, self.section, "key")?;
        let texts = self.loader.texts("key", item);
        if texts.len() != columns.len() {
            let names: Vec<&str> = columns.iter().map(Column::name).collect();
            let message = format!("the key of `{}` is {}", self.table.name(), names.join(", "));
            let help = format!("write a list of {}, in this order", plural(columns.len(), "expression"));
            self.loader.advise(item.span(), message, help);
            return None;
        }
        texts.iter().zip(columns).map(|((_, item), column)| self.target("key", column, item)).collect()
    }

    fn target(&mut self, what: &str, column: &Column, item: &Item<'_>) -> Option<Target> {
        let value = self.compile(what, item)?;
        let (name, column_type) = (column.name().to_owned(), column.column_type());
        if !value.kind().fits(column_type) {
            let message = format!("column `{name}` holds {column_type}, not {}", value.kind());
            match converted(value.kind(), column_type) {
                Some(help) => self.loader.advise(item.span(), message, help),
                None => self.loader.error(item.span(), message),
            }
        } else if let Some(constant) = value.constant() {
            let fitted =
                to_column(constant, column_type).and_then(|value| value.fit(column).map_err(|e| e.to_string()));
            if let Err(error) = fitted {
                self.loader.error(item.span(), error);
            }
        }
        Some(Target { column: name, column_type, value })
    }

    /// The data column `name`, that this rule may write.
    fn writable(&mut self, name: &str, span: Range<usize>) -> Option<Column> {
        let table = self.table;
        let Some(place) = table.data_columns().iter().position(|column| column.name() == name) else {
            if table.key_columns().iter().any(|column| column.name() == name) {
                self.loader.error(span, format!("`{name}` is a part of the key, which does not change"));
            } else {
                let known: Vec<&str> = table.data_columns().iter().map(Column::name).collect();
                let message = format!("table `{}` has no column `{name}`", table.name());
                self.loader.unknown(span, message, name, known.iter().copied());
            }
            return None;
        };
        if let Some(reference) = table.copied_by(place) {
            self.loader.error(span, format!("column `{name}` is copied from table `{}`", reference.table()));
            return None;
        }
        Some(table.data_columns()[place].clone())
    }

    fn cells(&mut self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for (name, operation) in OPERATIONS {
            let Some(item) = self.section.get(name) else { continue };
            let Some(columns) = self.loader.section(name, item) else { continue };
            for (column, span, item) in columns.entries() {
                let Some(column) = self.writable(column, span.clone()) else { continue };
                if let Some(reason) = misused(operation, column.column_type()) {
                    self.loader
                        .error(span, format!("column `{}` holds {}: {reason}", column.name(), column.column_type()));
                }
                let what = format!("{name}.{}", column.name());
                cells.extend(self.target(&what, &column, item).map(|target| Cell { operation, target }));
            }
        }
        self.newer_columns(&mut cells);
        cells
    }

    /// `newer` names both columns that it compares, which come first among its cells.
    fn newer_columns(&mut self, cells: &mut [Cell]) {
        let Some(span) = self.section.key_span("newer") else { return };
        let Some((at, tie)) = self.table.newer_columns() else {
            let help = format!("write newer_by = [\"TIME\", \"TIE\"] in [tables.{}]", self.table.name());
            self.loader.advise(span, "the table has no columns that `newer` compares", help);
            return;
        };
        let compared = [at, tie].map(|place| self.table.data_columns()[place].name());
        let rank =
            |cell: &Cell| compared.iter().position(|column| *column == cell.target.column).unwrap_or(compared.len());
        cells.sort_by_key(rank);
        for column in compared {
            let is_set = |cell: &Cell| cell.operation == Operation::Newer && cell.target.column == column;
            if !cells.iter().any(is_set) {
                self.loader.error(span.clone(), format!("`newer` needs a value of `{column}`, which `newer_by` names"));
            }
        }
    }

    /// An upsert may create the row, so it sets every column that is never NULL and has no default.
    fn sets_what_it_must(&mut self, cells: &[Cell]) {
        let sets = |column: &Column| {
            let sets = |cell: &&Cell| matches!(cell.operation, Operation::Set | Operation::Newer);
            cells.iter().filter(sets).any(|cell| cell.target.column == column.name())
        };
        let columns = self.table.data_columns().iter();
        let missing: Vec<&str> = columns
            .filter(|column| *column.presence() == Presence::Required && !sets(column))
            .map(Column::name)
            .collect();
        if !missing.is_empty() {
            let message = format!("`upsert` may create the row, and sets no `{}`", missing.join("`, `"));
            let help = "set it, give the column a default or `null`, or write `update`";
            self.loader.advise(self.section.span.clone(), message, help);
        }
    }

    fn selection(&mut self) -> Option<Target> {
        let item = required(self.loader, self.section, "where")?;
        let section = self.loader.section("where", item)?;
        let entries: Vec<_> = section.entries().collect();
        let [(name, span, value)] = entries.as_slice() else {
            self.loader.advise(item.span(), "`where` takes one column", "write where.COLUMN = \"VALUE\"");
            return None;
        };
        let column = self.writable(name, span.clone())?;
        if column.column_type() == ColumnType::Json {
            self.loader.error(span.clone(), "a JSON column can't select rows");
        }
        self.target("where", &column, value)
    }

    /// The values of the first columns of the children's key.
    fn parent(&mut self) -> Option<Vec<Target>> {
        let columns = self.table.key_columns();
        if columns.len() < 2 {
            let message = "the key of children has more columns than that of their parent";
            self.loader.error(self.section.span.clone(), message);
            return None;
        }
        let given = self.section.get("key").map_or(0, |item| self.loader.texts("key", item).len());
        self.key(&columns[..given.clamp(1, columns.len() - 1)])
    }

    fn children(&mut self, parent: Vec<Target>) -> Option<Action> {
        let table = self.table;
        if self.section.get("foreach").is_none() {
            let help = "write foreach = \"data.items\"";
            self.loader.advise(self.section.span.clone(), "`replace_children` has no `foreach`", help);
        }
        if self.section.get("foreach").and_then(|item| item.get_ref().as_str()) == Some("[]") {
            return Some(Action::ReplaceChildren { parent, row: Vec::new() });
        }
        let item = required(self.loader, self.section, "set")?;
        let columns = self.loader.section("set", item)?;
        let copied = |name: &str| {
            let place = table.data_columns().iter().position(|column| column.name() == name);
            place.is_some_and(|place| table.copied_by(place).is_some())
        };
        let wanted: Vec<&Column> =
            table.columns()[parent.len()..].iter().filter(|column| !copied(column.name())).collect();
        for (name, span, _) in
            columns.entries().filter(|(name, ..)| !wanted.iter().any(|column| column.name() == *name))
        {
            let message = format!("`{name}` is no column of the children in `{}`", table.name());
            self.loader.unknown(span, message, name, wanted.iter().map(|column| column.name()));
        }
        let mut row = Vec::new();
        for column in wanted {
            match columns.get(column.name()) {
                Some(item) => row.extend(self.target(column.name(), column, item)),
                None => {
                    let message =
                        format!("`replace_children` sets no `{}`: a row has all of its columns", column.name());
                    self.loader.error(columns.span.clone(), message);
                }
            }
        }
        Some(Action::ReplaceChildren { parent, row })
    }
}

/// What makes a value of the column's type, if there is a function that does.
fn converted(kind: Kind, column: ColumnType) -> Option<String> {
    let function = match column {
        ColumnType::Text if kind != Kind::Null => "string",
        ColumnType::I32 | ColumnType::I64 => "int",
        ColumnType::F64 => "double",
        ColumnType::Decimal { .. } => "decimal",
        ColumnType::Date if kind == Kind::Time => "date",
        ColumnType::Bytes if kind == Kind::Text => "bytes",
        _ => return None,
    };
    Some(format!("write {function}(…)"))
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
