//! The tables of a projection: `[tables.NAME]`.

use readcast_core::{ColumnType, Decimal, Join, Presence, ReadView, Reference, TableSpec, Value};
use toml::de::DeValue;

use crate::datum::{Datum, to_column};
use crate::document::{Item, Loader, Section};
use crate::expression::Names;

const KEYS: [&str; 8] = ["description", "key", "columns", "indexes", "newer_by", "storage", "references", "views"];

/// The names of the types of columns.
pub(crate) const TYPES: [&str; 11] =
    ["text", "bool", "i32", "i64", "f64", "decimal(2)", "timestamp", "date", "uuid", "json", "bytes"];

/// Words of SQL and of languages, and the types that they mean here.
const OTHER_WORDS: [(&str, &str); 16] = [
    ("string", "text"),
    ("varchar", "text"),
    ("boolean", "bool"),
    ("int", "i32"),
    ("integer", "i32"),
    ("bigint", "i64"),
    ("long", "i64"),
    ("double", "f64"),
    ("float", "f64"),
    ("real", "f64"),
    ("numeric", "decimal(2)"),
    ("decimal", "decimal(2)"),
    ("timestamptz", "timestamp"),
    ("datetime", "timestamp"),
    ("jsonb", "json"),
    ("bytea", "bytes"),
];

/// A declared column.
struct Declared<'d> {
    name: &'d str,
    column_type: ColumnType,
    presence: Presence,
}

/// The tables of the section `[tables]`, in the order of the file.
pub(super) fn load(loader: &mut Loader, tables: &Section<'_>) -> Vec<TableSpec> {
    let load = |(name, _, item)| {
        let section = loader.section(&format!("tables.{name}"), item)?;
        Some((table(loader, name, &section)?, section.span))
    };
    let loaded: Vec<_> = tables.entries().filter_map(load).collect();
    for (table, span) in &loaded {
        for problem in table.validate().err().unwrap_or_default() {
            loader.error(span.clone(), problem);
        }
    }
    loaded.into_iter().map(|(table, _)| table).collect()
}

fn table(loader: &mut Loader, name: &str, section: &Section<'_>) -> Option<TableSpec> {
    loader.only(section, &KEYS);
    let Some(columns) = section.get("columns") else {
        loader.advise(section.span.clone(), format!("table `{name}` has no columns"), "write columns.NAME = \"TYPE\"");
        return None;
    };
    let columns = loader.section(&format!("{}.columns", section.what()), columns)?;
    let declared: Vec<_> = columns.entries().filter_map(|(name, _, item)| column(loader, name, item)).collect();
    let Some(key) = section.get("key") else {
        loader.advise(section.span.clone(), format!("table `{name}` has no key"), "write key = \"COLUMN\"");
        return None;
    };
    let key = loader.texts("key", key);
    let mut table = TableSpec::new(name);
    for (name, item) in &key {
        match declared.iter().find(|column| column.name == name) {
            Some(column) => table = table.key(name, column.column_type),
            None => {
                let known = declared.iter().map(|column| column.name);
                loader.unknown(item.span(), format!("the key column `{name}` is not declared"), name, known);
            }
        }
    }
    for Declared { name, column_type, presence } in declared {
        if key.iter().any(|(key, _)| key == name) {
            continue;
        }
        table = match presence {
            Presence::Required => table.column(name, column_type),
            Presence::Nullable => table.nullable(name, column_type),
            Presence::Default(value) => table.with_default(name, column_type, value),
        };
    }
    Some(rest(loader, table, section))
}

/// What a table has beside its columns.
fn rest(loader: &mut Loader, mut table: TableSpec, section: &Section<'_>) -> TableSpec {
    if let Some(DeValue::Array(indexes)) = section.get("indexes").map(|item| item.get_ref()) {
        for index in indexes.iter() {
            table = table.index(loader.texts("indexes", index).into_iter().map(|(name, _)| name));
        }
    } else if let Some(item) = section.get("indexes") {
        table = table.index(loader.texts("indexes", item).into_iter().map(|(name, _)| name));
    }
    if let Some(item) = section.get("newer_by") {
        match loader.texts("newer_by", item).as_slice() {
            [(at, _), (tie, _)] => table = table.newer_by(at, tie),
            _ => loader.advise(item.span(), "`newer_by` takes two columns", "write newer_by = [\"TIME\", \"TIE\"]"),
        }
    }
    if let Some(storage) = section.get("storage").and_then(|item| loader.section("storage", item)) {
        for (parameter, _, item) in storage.entries() {
            let value = match item.get_ref() {
                DeValue::Integer(number) => number.as_str().to_owned(),
                DeValue::Float(number) => number.as_str().to_owned(),
                DeValue::Boolean(value) => value.to_string(),
                _ => loader.text(parameter, item).unwrap_or_default(),
            };
            table = table.storage(parameter, value);
        }
    }
    for reference in section.get("references").map(|item| loader.sections("references", item)).unwrap_or_default() {
        if let Some(reference) = self::reference(loader, &reference) {
            table = table.reference(reference);
        }
    }
    for view in section.get("views").map(|item| loader.sections("views", item)).unwrap_or_default() {
        if let Some(view) = self::view(loader, &view) {
            table = table.view(view);
        }
    }
    table
}

/// A column of the form `TYPE`, `TYPE null` or `TYPE default VALUE`.
fn column<'d>(loader: &mut Loader, name: &'d str, item: &Item<'_>) -> Option<Declared<'d>> {
    let text = loader.text(name, item)?;
    let (word, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    let Some(column_type) = column_type(word) else {
        let meant = OTHER_WORDS.iter().find(|(other, _)| word.to_ascii_lowercase().split('(').next() == Some(other));
        let message = format!("`{word}` is not a type of columns");
        match meant {
            Some((_, meant)) => loader.advise(item.span(), message, format!("write `{meant}`")),
            None => loader.unknown(item.span(), message, word, TYPES),
        }
        return None;
    };
    let presence = match rest.trim().split_once(char::is_whitespace) {
        None if rest.trim().is_empty() => Presence::Required,
        None if rest.trim().eq_ignore_ascii_case("null") => Presence::Nullable,
        Some((word, value)) if word.eq_ignore_ascii_case("default") => {
            Presence::Default(default(loader, item, value.trim(), column_type)?)
        }
        _ => {
            let help = "write `TYPE`, `TYPE null`, or `TYPE default VALUE`";
            loader.advise(item.span(), format!("`{}` is not understood", rest.trim()), help);
            return None;
        }
    };
    Some(Declared { name, column_type, presence })
}

/// The type of this name.
pub(crate) fn column_type(word: &str) -> Option<ColumnType> {
    Some(match word {
        "text" => ColumnType::Text,
        "bool" => ColumnType::Bool,
        "i32" => ColumnType::I32,
        "i64" => ColumnType::I64,
        "f64" => ColumnType::F64,
        "timestamp" => ColumnType::Timestamp,
        "date" => ColumnType::Date,
        "uuid" => ColumnType::Uuid,
        "json" => ColumnType::Json,
        "bytes" => ColumnType::Bytes,
        decimal => {
            let scale = decimal.strip_prefix("decimal(")?.strip_suffix(')')?;
            ColumnType::Decimal { scale: scale.trim().parse().ok()? }
        }
    })
}

/// The value of a default: an expression without an event, such as `0`, `'new'` or `[]`.
fn default(loader: &mut Loader, item: &Item<'_>, text: &str, column_type: ColumnType) -> Option<Value> {
    let json = column_type == ColumnType::Json;
    if json && let Ok(json) = readcast_core::Json::parse(text) {
        return Some(Value::Json(json));
    }
    let expression = loader.expression(item, text, &mut Names::default())?;
    let value = match expression.constant() {
        Some(Datum::Int(number)) if matches!(column_type, ColumnType::Decimal { .. }) => {
            Ok(Value::Decimal(Decimal::from(number)))
        }
        Some(value) => to_column(value, column_type),
        None => Err("a default is a number, a text in quotes, true or false".to_owned()),
    };
    value.map_err(|error| loader.error(item.span(), format!("the default {text}: {error}"))).ok()
}

fn reference(loader: &mut Loader, section: &Section<'_>) -> Option<Reference> {
    loader.only(section, &["columns", "table", "copy"]);
    let columns = required(loader, section, "columns").map(|item| loader.texts("columns", item))?;
    let table = required(loader, section, "table").and_then(|item| loader.text("table", item))?;
    let copies = required(loader, section, "copy").and_then(|item| loader.section("copy", item))?;
    let reference = Reference::new(columns.into_iter().map(|(name, _)| name), table);
    Some(copies.entries().fold(reference, |reference, (column, _, item)| match loader.text(column, item) {
        Some(source) => reference.copy_as(source, column),
        None => reference,
    }))
}

fn view(loader: &mut Loader, section: &Section<'_>) -> Option<ReadView> {
    loader.only(section, &["name", "columns", "joins"]);
    let name = required(loader, section, "name").and_then(|item| loader.text("name", item))?;
    let mut view = ReadView::new(name);
    for (column, shown_as) in shown(loader, section)? {
        view = view.column_as(column, shown_as);
    }
    for section in section.get("joins").map(|item| loader.sections("joins", item)).unwrap_or_default() {
        loader.only(&section, &["on", "table", "columns"]);
        let on = required(loader, &section, "on").map(|item| loader.texts("on", item))?;
        let table = required(loader, &section, "table").and_then(|item| loader.text("table", item))?;
        let mut join = Join::new(on.into_iter().map(|(name, _)| name), table);
        for (column, shown_as) in shown(loader, &section)? {
            join = join.column_as(column, shown_as);
        }
        view = view.join(join);
    }
    Some(view)
}

/// The columns of a view, of the form `COLUMN` or `COLUMN as NAME`.
fn shown(loader: &mut Loader, section: &Section<'_>) -> Option<Vec<(String, String)>> {
    let columns = required(loader, section, "columns").map(|item| loader.texts("columns", item))?;
    let shown = |(text, _): (String, _)| match text.split_once(" as ") {
        Some((column, name)) => (column.trim().to_owned(), name.trim().to_owned()),
        None => (text.clone(), text),
    };
    Some(columns.into_iter().map(shown).collect())
}

/// The value of a key that the section must have.
pub(super) fn required<'d>(loader: &mut Loader, section: &Section<'d>, key: &str) -> Option<&'d Item<'d>> {
    let found = section.get(key);
    if found.is_none() {
        loader.error(section.span.clone(), format!("`{}` has no `{key}`", section.what()));
    }
    found
}
