//! How values of one schema become values of another: the steps, made from both schemas.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::RecordField;

use super::super::default::Named;
use super::super::kind::{Kind, logical_type};
use super::{Plain, Source, Step};

/// Makes the steps for two schemas.
pub(super) struct Compiler<'s> {
    writer: Named<'s>,
    reader: Named<'s>,
    steps: Vec<Step>,
    /// The steps of records by their schemas, so that one that holds itself is met once.
    known: HashMap<(*const Schema, *const Schema), usize>,
}

impl<'s> Compiler<'s> {
    /// The steps for values of the last of the writer's schemas, which may refer to the others, and the place of the first step.
    pub(super) fn steps(writer: &'s [Schema], reader: &'s Schema) -> Result<(Vec<Step>, usize), String> {
        let root = writer.last().ok_or("there is no schema")?;
        let mut compiler =
            Self { writer: Named::of(writer), reader: Named::of([reader]), steps: Vec::new(), known: HashMap::new() };
        let root = compiler.step(root, reader, "")?;
        Ok((compiler.steps, root))
    }

    /// The step that makes values of `reader` from those of `writer`, which stand at `place`.
    fn step(&mut self, writer: &'s Schema, reader: &'s Schema, place: &str) -> Result<usize, String> {
        let (writer, reader) = (self.writer.deref(writer)?, self.reader.deref(reader)?);
        if let Some(step) = self.known.get(&(std::ptr::from_ref(writer), std::ptr::from_ref(reader))) {
            return Ok(*step);
        }
        let differ = logical_type(writer).zip(logical_type(reader)).filter(|(one, other)| one != other);
        if let Some((one, other)) = differ {
            return Err(format!("{}: it was written as {one}, and is read as {other}", shown(place)));
        }
        let step = match (Kind::of(writer), Kind::of(reader)) {
            (Kind::Union(variants), _) => {
                let steps: Vec<_> = variants.iter().map(|variant| self.step(variant, reader, place)).collect();
                if let (true, Some(Err(reason))) = (steps.iter().all(Result::is_err), steps.first()) {
                    return Err(reason.clone());
                }
                let step = |step: Result<_, _>| step.unwrap_or_else(|reason| self.add(Step::Refusal(reason)));
                Step::EitherOf(steps.into_iter().map(step).collect())
            }
            (_, Kind::Union(variants)) => {
                let variant = self.variant(writer, variants, place)?;
                Step::Variant(variant as i64, self.step(writer, &variants[variant], place)?)
            }
            (Kind::Record(from), Kind::Record(to)) if same_name(writer, reader) => {
                return self.record((writer, from), (reader, to), place);
            }
            (Kind::Enum(from, _), Kind::Enum(to, default)) if same_name(writer, reader) => {
                let place_of = |symbol: &String| to.iter().position(|other| other == symbol);
                let symbol = |symbol| {
                    let found = place_of(symbol).or_else(|| default.and_then(place_of)).map(|place| place as i64);
                    found.ok_or_else(|| format!("{}: the reader's enum has no `{symbol}`", shown(place)))
                };
                Step::Enum(from.iter().map(symbol).collect())
            }
            (Kind::Array(from), Kind::Array(to)) => Step::Array(self.step(from, to, &format!("{place}[]"))?),
            (Kind::Map(from), Kind::Map(to)) => Step::Map(self.step(from, to, &format!("{place}[]"))?),
            (from, to) => plain(&from, &to, same_name(writer, reader)).ok_or_else(|| {
                format!("{}: it was written as {}, and is read as {}", shown(place), from.name(), to.name())
            })?,
        };
        Ok(self.add(step))
    }

    fn add(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// The variant of the reader's union that a value becomes: one of the same type, or else the first that takes it. The
    /// specification has the first in any case, by which a long next to a double would lose digits; Java does the same as here.
    fn variant(&mut self, writer: &'s Schema, variants: &'s [Schema], place: &str) -> Result<usize, String> {
        let kind = Kind::of(writer);
        let mut fitting = None;
        for (number, variant) in variants.iter().enumerate() {
            let variant = self.reader.deref(variant)?;
            let fits = self.step(writer, variant, place).is_ok();
            if fits && kind.name() == Kind::of(variant).name() {
                return Ok(number);
            }
            fitting = fitting.or(fits.then_some(number));
        }
        fitting.ok_or_else(|| format!("{}: the reader's union has no variant for {}", shown(place), kind.name()))
    }

    fn record(
        &mut self,
        (writer, from): (&'s Schema, &'s [RecordField]),
        (reader, to): (&'s Schema, &'s [RecordField]),
        place: &str,
    ) -> Result<usize, String> {
        // Known before its fields are looked at, which may be of its own type.
        let step = self.add(Step::Refusal(String::new()));
        let key = (std::ptr::from_ref(writer), std::ptr::from_ref(reader));
        self.known.insert(key, step);
        match self.fields(from, to, place) {
            Ok((fields, sources)) => {
                self.steps[step] = Step::Record(fields, sources);
                Ok(step)
            }
            Err(reason) => {
                self.known.remove(&key);
                self.steps[step] = Step::Refusal(reason.clone());
                Err(reason)
            }
        }
    }

    fn fields(
        &mut self,
        from: &'s [RecordField],
        to: &'s [RecordField],
        place: &str,
    ) -> Result<(Vec<usize>, Vec<Source>), String> {
        let mut sources: Vec<Option<Source>> = vec![None; to.len()];
        let mut fields = Vec::with_capacity(from.len());
        for (number, field) in from.iter().enumerate() {
            let named = |other: &&RecordField| other.name == field.name;
            let aliased = |other: &&RecordField| other.aliases.contains(&field.name);
            let reader = to.iter().find(named).or_else(|| to.iter().find(aliased));
            let step = match reader {
                Some(reader) => self.step(&field.schema, &reader.schema, &format!("{place}/{}", field.name))?,
                None => self.skip(&field.schema)?,
            };
            if let Some(reader) = reader {
                let place = to.iter().position(|other| std::ptr::eq(other, reader)).unwrap_or_default();
                sources[place] = Some(Source::Writer(number));
            }
            fields.push(step);
        }
        let of_default = |(source, field): (Option<Source>, &RecordField)| match (source, &field.default) {
            (Some(source), _) => Ok(source),
            (None, Some(default)) => {
                let bytes = self.reader.encode(default, &field.schema);
                let bytes = bytes.ok_or_else(|| format!("{place}/{}: the default is no value of its type", field.name));
                Ok(Source::Default(bytes?))
            }
            (None, None) => Err(format!("{place}/{}: it was not written, and has no default", field.name)),
        };
        let sources = sources.into_iter().zip(to).map(of_default).collect::<Result<_, String>>()?;
        Ok((fields, sources))
    }

    /// The step that reads a value which the reader does not have.
    fn skip(&mut self, writer: &'s Schema) -> Result<usize, String> {
        let reader = std::mem::replace(&mut self.reader, self.writer.clone());
        let step = self.step(writer, writer, "");
        self.reader = reader;
        step
    }
}

/// The step between types without parts.
fn plain(from: &Kind<'_>, to: &Kind<'_>, same_name: bool) -> Option<Step> {
    Some(match (from, to) {
        (Kind::Null, Kind::Null) => Step::Copy(Plain::Fixed(0)),
        (Kind::Boolean, Kind::Boolean) => Step::Copy(Plain::Fixed(1)),
        (Kind::Int, Kind::Int | Kind::Long) | (Kind::Long, Kind::Long) => Step::Copy(Plain::Whole),
        (Kind::Int | Kind::Long, Kind::Float) => Step::Number { from: Plain::Whole, to: Plain::Float },
        (Kind::Int | Kind::Long, Kind::Double) => Step::Number { from: Plain::Whole, to: Plain::Double },
        (Kind::Float, Kind::Float) => Step::Copy(Plain::Float),
        (Kind::Float, Kind::Double) => Step::Number { from: Plain::Float, to: Plain::Double },
        (Kind::Double, Kind::Double) => Step::Copy(Plain::Double),
        (Kind::Bytes | Kind::String, Kind::Bytes | Kind::String) => Step::Copy(Plain::Counted),
        (Kind::Fixed(one), Kind::Fixed(other)) if one == other && same_name => Step::Copy(Plain::Fixed(*one)),
        _ => return None,
    })
}

/// Whether two types have the same name, without their namespaces, or the reader's has the writer's as an alias.
fn same_name(writer: &Schema, reader: &Schema) -> bool {
    let (Some(one), Some(other)) = (writer.name(), reader.name()) else {
        return writer.name().is_none() == reader.name().is_none();
    };
    let mut aliases = reader.aliases().into_iter().flatten();
    one.name() == other.name() || aliases.any(|alias| alias.fullname(other.namespace()) == one.fullname(None))
}

fn shown(place: &str) -> &str {
    if place.is_empty() { "the value" } else { place }
}
