//! From the text of a file to a projection.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use readcast_core::Registry;

use super::wasm::Wasm;
use super::{FileProjection, Subscribed, rules, tables, wasm};
use crate::document::{Loader, Section};
use crate::upcasters;

/// The keys of a file. `revision` has no effect but to make a file declare something else.
const KEYS: [&str; 9] = ["description", "revision", "topics", "ignore", "tables", "upcast", "on", "events", "wasm"];

/// The projection, unless nothing can be made of the file. Problems are in the loader.
pub(super) fn load(
    loader: &mut Loader,
    text: &str,
    read: &dyn Fn(&str) -> std::io::Result<Vec<u8>>,
) -> Option<FileProjection> {
    let parsed = loader.parse(text)?;
    let section = Section::new("the file", parsed.span(), parsed.get_ref());
    loader.only(&section, &KEYS);
    let path = loader.document.name.clone();
    let name = Path::new(&*path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let topics = names(loader, &section, "topics");
    let ignored = names(loader, &section, "ignore");
    if section.get("topics").is_none() {
        loader.advise(0..0, "the projection reads no topic", "write topics = \"NAME\" or topics = [\"NAME\", …]");
    }
    let tables = match section.get("tables").and_then(|item| loader.section("tables", item)) {
        Some(section) => tables::load(loader, &section),
        None => {
            loader.advise(0..0, "the projection has no table", "write [tables.NAME] with a key and columns");
            return None;
        }
    };
    let upcasters = section.get("upcast").map(|item| upcasters::load(loader, item)).unwrap_or_default();
    let sections = section.get("on").map(|item| loader.sections("on", item)).unwrap_or_default();
    let wasm = section.get("wasm").and_then(|item| wasm::load(loader, item, read));
    either_rules_or_component(loader, &section);
    let rules: Vec<_> = sections.iter().filter_map(|section| rules::load(loader, &tables, section)).collect();
    let mut events = BTreeMap::<String, Subscribed>::new();
    for (place, rule) in rules.iter().enumerate() {
        for event_type in &rule.types {
            let subscribed = events.entry(event_type.clone()).or_default();
            subscribed.shape.merge(&rule.shape);
            subscribed.rules.push(place);
        }
    }
    for event_type in names(loader, &section, "events") {
        events.insert(event_type.to_owned(), Subscribed::default());
    }
    let event_types = events.keys().map(|name| interned(name)).collect();
    let projection = FileProjection {
        name: name.to_owned(),
        version: 1,
        document: loader.document.clone(),
        canonical: section.canonical() + &wasm.as_ref().map(Wasm::canonical).unwrap_or_default(),
        topics,
        event_types,
        ignored,
        tables,
        upcasters,
        wasm,
        rules,
        events,
    };
    if loader.problems.is_empty() {
        // What concerns several tables, and the rules that hold for projections in code as well.
        let problems = Registry::new().register(projection.clone()).validate().err();
        problems.into_iter().flat_map(|error| error.0).for_each(|problem| loader.error(0..0, problem));
    }
    Some(projection)
}

fn either_rules_or_component(loader: &mut Loader, section: &Section<'_>) {
    let key = |name: &str| section.key_span(name);
    match (key("wasm"), key("on"), key("events")) {
        (None, None, None) => {
            loader.advise(0..0, "the projection has no rule", "write [[on]] with event = \"TYPE\" and what happens");
        }
        (None, _, Some(events)) => {
            let help = "write the types into [[on]], or name a component by `wasm`";
            loader.advise(events, "`events` are those of a component", help);
        }
        (Some(_), Some(on), _) => {
            loader.error(on, "a projection has rules or a component, and this one has both");
        }
        (Some(wasm), None, None) => {
            loader.advise(wasm, "the component gets no event", "write events = [\"TYPE\", …]");
        }
        _ => {}
    }
}

fn names(loader: &mut Loader, section: &Section<'_>, key: &str) -> Vec<&'static str> {
    let Some(item) = section.get(key) else { return Vec::new() };
    loader.texts(key, item).iter().map(|(name, _)| interned(name)).collect()
}

/// The name, kept until the process ends: a projection's names are those of its declaration for as long as it runs. Each
/// is kept once, however often a file is loaded.
fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeMap<String, &'static str>> = Mutex::new(BTreeMap::new());
    let mut names = NAMES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(kept) = names.get(name) {
        return kept;
    }
    let kept: &'static str = String::leak(name.to_owned());
    names.insert(name.to_owned(), kept);
    kept
}
