//! Upcasters that are written as files: `[[upcast]]`.

use std::borrow::Cow;
use std::sync::Arc;

use readcast_core::{Envelope, Payload, ProjectionError, Upcasters};
use toml::de::DeValue;

use crate::datum::{Datum, Fields, Shape, to_json};
use crate::document::{Document, Item, Loader, Problem, Section};
use crate::expression::{Expression, Names, Scope};

const KEYS: [&str; 7] = ["description", "event", "from", "rename", "default", "set", "remove"];

/// What brings events of one type from one version to the next. The steps are done in the order of these fields.
#[derive(Debug)]
struct Upcast {
    /// Where it stands: `orders.toml:7`.
    place: String,
    /// Paths of fields, and where they move to.
    renamed: Vec<(Path, Path)>,
    /// Fields that get a value if they have none.
    defaults: Vec<(Path, Expression)>,
    /// Fields that get a value, computed from the event as it was written.
    set: Vec<(Path, Expression)>,
    removed: Vec<Path>,
}

/// The names that lead to a field.
type Path = Vec<String>;

/// The upcasters that the file `path` with this text declares, for projections in code.
///
/// ```
/// let text = r#"
///     [[upcast]]
///     event = "MoneyDeposited"
///     from = 1                                # version 1 counted cents
///     set.amount = "decimal(data.cents) / 100"
///     remove = "cents"
/// "#;
/// readcast_files::upcasters("bank.toml", text).expect("an upcaster");
/// ```
///
/// # Errors
/// Everything that is wrong with the file.
pub fn upcasters(path: &str, text: &str) -> Result<Upcasters, Vec<Problem>> {
    let mut loader = Loader::new(Document::new(path, text));
    let loaded = loader.parse(text).map(|parsed| {
        let section = Section::new("the file", parsed.span(), parsed.get_ref());
        loader.only(&section, &["description", "upcast"]);
        section.get("upcast").map(|item| load(&mut loader, item)).unwrap_or_default()
    });
    match loaded {
        Some(upcasters) if loader.problems.is_empty() => Ok(upcasters),
        _ => Err(loader.problems),
    }
}

/// The upcasters in an array of tables.
pub(crate) fn load(loader: &mut Loader, item: &Item<'_>) -> Upcasters {
    let sections = loader.sections("upcast", item);
    sections.iter().fold(Upcasters::new(), |upcasters, section| match upcast(loader, section) {
        Some((event_type, from, upcast, declared)) => {
            let upcast = Arc::new(upcast);
            upcasters.upcast_event_by(&event_type, from, declared, move |event| upcast.apply(event))
        }
        None => upcasters,
    })
}

fn upcast(loader: &mut Loader, section: &Section<'_>) -> Option<(String, u32, Upcast, String)> {
    loader.only(section, &KEYS);
    let missing = |loader: &mut Loader, key: &str, help: &str| {
        loader.advise(section.span.clone(), format!("`upcast` has no `{key}`"), help);
    };
    let Some(event_type) = section.get("event").and_then(|item| loader.text("event", item)) else {
        missing(loader, "event", "write event = \"TYPE\"");
        return None;
    };
    let from = match section.get("from").map(|item| (item, item.get_ref())) {
        Some((item, DeValue::Integer(number))) => {
            let number = number.as_str().parse::<u32>().ok().filter(|number| *number < u32::MAX);
            if number.is_none() {
                loader.error(item.span(), "`from` is the number of a version");
            }
            number?
        }
        _ => {
            missing(loader, "from", "write from = 1 for events of version 1");
            return None;
        }
    };
    let renamed = entries(loader, section, "rename").into_iter();
    let renamed = renamed.filter_map(|(path, item)| Some((path, self::path(&loader.text("rename", item)?)))).collect();
    let defaults = expressions(loader, section, "default");
    let set = expressions(loader, section, "set");
    let removed = section.get("remove").map(|item| loader.texts("remove", item)).unwrap_or_default();
    let removed = removed.iter().map(|(text, _)| path(text)).collect();
    let place = loader.document.line(section.span.start);
    Some((event_type, from, Upcast { place, renamed, defaults, set, removed }, section.canonical()))
}

fn path(text: &str) -> Path {
    text.split('.').map(str::to_owned).collect()
}

/// The keys of a table within the section, as paths: in TOML, `set.customer.id` is a table in a table.
fn entries<'d>(loader: &mut Loader, section: &Section<'d>, key: &str) -> Vec<(Path, &'d Item<'d>)> {
    let Some(item) = section.get(key) else { return Vec::new() };
    let Some(table) = loader.section(key, item) else { return Vec::new() };
    let mut found = Vec::new();
    collect(loader, &table, &[], &mut found);
    found
}

fn collect<'d>(loader: &mut Loader, table: &Section<'d>, before: &[String], found: &mut Vec<(Path, &'d Item<'d>)>) {
    for (name, _, item) in table.entries() {
        let path = [before, &[name.to_owned()]].concat();
        match item.get_ref() {
            DeValue::Table(_) => {
                if let Some(inner) = loader.section(name, item) {
                    collect(loader, &inner, &path, found);
                }
            }
            _ => found.push((path.iter().flat_map(|name| self::path(name)).collect(), item)),
        }
    }
}

fn expressions(loader: &mut Loader, section: &Section<'_>, key: &str) -> Vec<(Path, Expression)> {
    let mut compiled = Vec::new();
    for (path, item) in entries(loader, section, key) {
        let Some(text) = loader.text(key, item) else { continue };
        compiled.extend(loader.expression(item, &text, &mut Names::default()).map(|expression| (path, expression)));
    }
    compiled
}

impl Upcast {
    fn apply(&self, event: &Envelope<'_>) -> Result<Payload<'static>, ProjectionError> {
        let mut scope = Scope::new(event, Shape::WHOLE)?;
        let mut data = scope.data().clone();
        self.change(&mut data, &mut scope).map_err(|error| format!("{}: {error}", self.place))?;
        Ok(Payload::json(to_json(&data)?)?)
    }

    fn change<'e>(&'e self, data: &mut Datum<'e>, scope: &mut Scope<'e>) -> Result<(), String> {
        for (from, to) in &self.renamed {
            if let Some(value) = take(data, from) {
                put(data, to, value)?;
            }
        }
        for (path, expression) in &self.defaults {
            if get(data, path).is_none() {
                put(data, path, computed(path, expression, scope)?)?;
            }
        }
        for (path, expression) in &self.set {
            put(data, path, computed(path, expression, scope)?)?;
        }
        self.removed.iter().for_each(|path| drop(take(data, path)));
        Ok(())
    }
}

fn computed<'e>(path: &Path, expression: &'e Expression, scope: &mut Scope<'e>) -> Result<Datum<'e>, String> {
    expression.evaluate(scope).map_err(|error| format!("{}: {error}", path.join(".")))
}

fn fields<'d, 'e>(value: &'d mut Datum<'e>) -> Option<&'d mut Fields<'e>> {
    match value {
        Datum::Map(fields) => Some(Arc::make_mut(fields)),
        _ => None,
    }
}

fn get<'d, 'e>(value: &'d Datum<'e>, path: &[String]) -> Option<&'d Datum<'e>> {
    path.iter().try_fold(value, |value, name| match value {
        Datum::Map(fields) => fields.get(name),
        _ => None,
    })
}

/// Removes the field at `path`, if it is there, and returns its value.
fn take<'e>(value: &mut Datum<'e>, path: &[String]) -> Option<Datum<'e>> {
    let (name, rest) = path.split_first()?;
    let fields = fields(value)?;
    let place = fields.0.iter().rposition(|(other, _)| other == name)?;
    if !rest.is_empty() {
        return take(&mut fields.0[place].1, rest);
    }
    let (_, taken) = fields.0.remove(place);
    fields.0.retain(|(other, _)| other != name);
    Some(taken)
}

/// Sets the field at `path`, and the maps that lead there.
fn put<'e>(value: &mut Datum<'e>, path: &'e [String], new: Datum<'e>) -> Result<(), String> {
    let Some((name, rest)) = path.split_first() else {
        *value = new;
        return Ok(());
    };
    if matches!(value, Datum::Null) {
        *value = Datum::map(Vec::new());
    }
    let found = value.type_name();
    let fields = fields(value).ok_or_else(|| format!("{} has no field `{name}`", found))?;
    let place = fields.0.iter().rposition(|(other, _)| other == name).unwrap_or_else(|| {
        fields.0.push((Cow::Borrowed(name), Datum::Null));
        fields.0.len() - 1
    });
    put(&mut fields.0[place].1, rest, new)
}
