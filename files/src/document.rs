//! A TOML file, and what is wrong with it, shown where it stands.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::expression::{Expression, Names, nearest};

/// The name and the text of a file.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) name: Arc<str>,
    pub(crate) text: Arc<str>,
}

/// Something that is wrong in a file.
#[derive(Clone, Debug)]
pub struct Problem {
    document: Document,
    /// The part of the file that is wrong, in bytes.
    span: Range<usize>,
    message: String,
    help: Option<String>,
}

/// A value of a document, with its place.
pub(crate) type Item<'d> = Spanned<DeValue<'d>>;

/// The keys of a table of the document, in the order of the text.
pub(crate) struct Section<'d> {
    /// What messages call the table: `[tables.orders]`.
    what: String,
    pub(crate) span: Range<usize>,
    entries: Vec<(&'d str, Range<usize>, &'d Item<'d>)>,
}

impl Document {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// `name:line:column`, both from 1, the column in characters.
    pub(crate) fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{}:{line}:{column}", self.name)
    }

    /// The place without the column, `orders.toml:7`.
    pub(crate) fn line(&self, offset: usize) -> String {
        let place = self.place(offset);
        place.rsplit_once(':').map_or(place.as_str(), |(line, _)| line).to_owned()
    }
}

impl Problem {
    /// The problem in one line: `orders.toml:7:12: table `order` is not declared`.
    pub fn line(&self) -> String {
        let help = self.help.as_deref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{}: {}{help}", self.document.place(self.span.start), self.message)
    }

    fn rendered(&self) -> String {
        let mark = AnnotationKind::Primary.span(self.span.clone());
        let snippet = Snippet::source(&*self.document.text).path(&*self.document.name).annotation(mark);
        let mut group = Level::ERROR.primary_title(&*self.message).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(&**help));
        }
        Renderer::plain().render(&[group])
    }
}

/// The problem under the line of the file that it is about.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered())
    }
}

/// Reads a document and collects what is wrong with it.
pub(crate) struct Loader {
    pub(crate) document: Document,
    pub(crate) problems: Vec<Problem>,
}

impl Loader {
    pub(crate) fn new(document: Document) -> Self {
        Self { document, problems: Vec::new() }
    }

    /// The tables of the document. None if it is no TOML.
    pub(crate) fn parse<'t>(&mut self, text: &'t str) -> Option<Spanned<DeTable<'t>>> {
        // Far more than anyone writes. How deeply a document may be nested is limited by its parser.
        const MOST_BYTES: usize = 1 << 20;
        if text.len() > MOST_BYTES {
            self.error(0..0, format!("the file has {} bytes; at most {MOST_BYTES} are allowed", text.len()));
            return None;
        }
        match DeTable::parse(text) {
            Ok(table) => Some(table),
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                self.error(span, error.message().replace('\n', ", "));
                None
            }
        }
    }

    pub(crate) fn error(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.add(span, message.into(), None);
    }

    pub(crate) fn advise(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.add(span, message.into(), Some(help.into()));
    }

    /// An unknown name, with the known one that is nearest to it, or all of them.
    pub(crate) fn unknown<'n>(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        name: &str,
        known: impl IntoIterator<Item = &'n str> + Clone,
    ) {
        let all: Vec<&str> = known.clone().into_iter().collect();
        let help = match nearest(name, known) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if all.is_empty() => None,
            None => Some(format!("known are {}", all.join(", "))),
        };
        self.add(span, message.into(), help);
    }

    fn add(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        let document = self.document.clone();
        self.problems.push(Problem { document, span, message, help });
    }

    /// The expression with this text, which is that of `item` or a part of it.
    pub(crate) fn expression(&mut self, item: &Item<'_>, text: &str, names: &mut Names) -> Option<Expression> {
        let errors = match Expression::compile(text, names) {
            Ok(expression) => return Some(expression),
            Err(errors) => errors,
        };
        for error in errors {
            let span = self.within(item, text, &error.span);
            self.add(span, error.message, error.help);
        }
        None
    }

    /// The place in the document of a part of a text, if the text stands there without escapes.
    fn within(&self, item: &Item<'_>, text: &str, part: &Range<usize>) -> Range<usize> {
        let raw = self.document.text.get(item.span()).unwrap_or_default();
        match raw.find(text) {
            Some(quote) if !text.is_empty() => {
                item.span().start + quote + part.start..item.span().start + quote + part.end
            }
            _ => item.span(),
        }
    }

    /// The keys of the table that `item` is.
    pub(crate) fn section<'d>(&mut self, what: &str, item: &'d Item<'d>) -> Option<Section<'d>> {
        match item.get_ref() {
            DeValue::Table(table) => Some(Section::new(what, item.span(), table)),
            _ => {
                self.error(item.span(), format!("`{what}` must be a table"));
                None
            }
        }
    }

    /// The tables of an array of tables. A single table is an array of one.
    pub(crate) fn sections<'d>(&mut self, what: &str, item: &'d Item<'d>) -> Vec<Section<'d>> {
        match item.get_ref() {
            DeValue::Array(items) => items.iter().filter_map(|item| self.section(what, item)).collect(),
            _ => self.section(what, item).into_iter().collect(),
        }
    }

    /// The text that `item` is.
    pub(crate) fn text(&mut self, what: &str, item: &Item<'_>) -> Option<String> {
        let text = item.get_ref().as_str();
        if text.is_none() {
            self.error(item.span(), format!("`{what}` must be a text in quotes"));
        }
        text.map(str::to_owned)
    }

    /// The texts of an array, each with its item. A single text is an array of one.
    pub(crate) fn texts<'d>(&mut self, what: &str, item: &'d Item<'d>) -> Vec<(String, &'d Item<'d>)> {
        match item.get_ref() {
            DeValue::Array(items) => items.iter().filter_map(|item| Some((self.text(what, item)?, item))).collect(),
            _ => self.text(what, item).map(|text| (text, item)).into_iter().collect(),
        }
    }

    /// Reports the keys of a section that are not known.
    pub(crate) fn only(&mut self, section: &Section<'_>, known: &[&str]) {
        for (name, span, _) in section.entries.iter().filter(|(name, ..)| !known.contains(name)) {
            self.unknown(
                span.clone(),
                format!("`{name}` is not a key of `{}`", section.what),
                name,
                known.iter().copied(),
            );
        }
    }
}

impl<'d> Section<'d> {
    pub(crate) fn new(what: &str, span: Range<usize>, table: &'d DeTable<'d>) -> Self {
        let entry =
            |(name, item): (&'d Spanned<toml::de::DeString<'d>>, &'d Item<'d>)| (&**name.get_ref(), name.span(), item);
        let mut entries: Vec<_> = table.iter().map(entry).collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        Self { what: what.to_owned(), span, entries }
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'d Item<'d>> {
        self.entries.iter().find(|(other, ..)| *other == name).map(|(.., item)| *item)
    }

    /// The place of a key.
    pub(crate) fn key_span(&self, name: &str) -> Option<Range<usize>> {
        self.entries.iter().find(|(other, ..)| *other == name).map(|(_, span, _)| span.clone())
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'d str, Range<usize>, &'d Item<'d>)> {
        self.entries.iter().map(|(name, span, item)| (*name, span.clone(), *item))
    }

    /// The table without its comments and its layout: what it says. Two tables that say the same declare the same.
    pub(crate) fn canonical(&self) -> String {
        let mut text = String::new();
        for (name, _, item) in self.entries() {
            write_canonical(name, item, &mut text);
        }
        text
    }
}

fn write_canonical(name: &str, item: &Item<'_>, text: &mut String) {
    use fmt::Write as _;
    let _ = match item.get_ref() {
        DeValue::String(value) => writeln!(text, "{name:?}={value:?}"),
        DeValue::Integer(number) => writeln!(text, "{name:?}={number}"),
        DeValue::Float(number) => writeln!(text, "{name:?}={number}"),
        DeValue::Boolean(value) => writeln!(text, "{name:?}={value}"),
        DeValue::Datetime(value) => writeln!(text, "{name:?}={value}"),
        DeValue::Array(items) => {
            let _ = writeln!(text, "{name:?}=[");
            items.iter().for_each(|item| write_canonical("", item, text));
            writeln!(text, "]")
        }
        DeValue::Table(table) => {
            writeln!(text, "{name:?}={{\n{}}}", Section::new("", 0..0, table).canonical())
        }
    };
}
