//! The layer of a TOML file: every key with its line and column.

use std::io::ErrorKind;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::DEFAULT_FILE;
use super::environment::{CONFIG, Environment};
use super::error::ConfigError;
use super::written::{Value, Written};

/// The values of the file `named`, or of the one that the environment names, which must exist; or else of the usual one, if
/// it exists.
pub(super) fn layer(named: Option<&Path>, environment: &Environment) -> Result<Vec<Written>, ConfigError> {
    let named = named.or_else(|| environment.get(CONFIG).map(Path::new));
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => written(&name, &text),
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(ConfigError::at(name, format!("can't be read: {error}"))),
    }
}

/// Every key and section of the TOML document `text`, in the order of the file. `name` is the file's name in errors.
fn written(name: &str, text: &str) -> Result<Vec<Written>, ConfigError> {
    let document = Document { name, text };
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        ConfigError::at(document.place(offset), error.message().replace('\n', ", "))
    })?;
    let mut found = Vec::new();
    document.collect("", table.get_ref(), &mut found)?;
    found.sort_by_key(|(offset, _)| *offset);
    Ok(found.into_iter().map(|(_, written)| written).collect())
}

struct Document<'a> {
    name: &'a str,
    text: &'a str,
}

impl Document<'_> {
    fn collect(&self, prefix: &str, table: &DeTable<'_>, found: &mut Vec<(usize, Written)>) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.collect(&format!("{key}."), inner, found)?;
            }
            let written = Written {
                value: self.value(value)?,
                key,
                key_at: self.place(name.span().start),
                value_at: self.place(value.span().start),
                file: None,
            };
            found.push((name.span().start, written));
        }
        Ok(())
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Result<Value, ConfigError> {
        Ok(match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => return Err(ConfigError::at(self.place(value.span().start), "number too large")),
            },
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Table(_) => Value::Table,
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Datetime(_) => Value::Other("a date or time"),
            DeValue::Array(items) => {
                let text = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
                let texts = items.iter().map(text).collect::<Option<Vec<_>>>().filter(|texts| !texts.is_empty());
                texts.map_or(Value::Other("an array"), Value::Texts)
            }
        })
    }

    /// `name:line:column`, both from 1, the column in characters.
    fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{}:{line}:{column}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<(String, String, String)> {
        let written = written("readcast.toml", text).unwrap();
        written.into_iter().map(|written| (written.key, written.key_at, written.value_at)).collect()
    }

    fn place(key: &str, key_at: &str, value_at: &str) -> (String, String, String) {
        (key.into(), format!("readcast.toml:{key_at}"), format!("readcast.toml:{value_at}"))
    }

    #[test]
    fn every_key_and_section_has_its_line_and_column() {
        let found = places("# é\n[store]\nschema = 'é'\n\n[projector]\n  lanes = 2\n");
        let expected = [
            place("store", "2:2", "2:1"),
            place("store.schema", "3:1", "3:10"),
            place("projector", "5:2", "5:1"),
            place("projector.lanes", "6:3", "6:11"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_quotes_of_a_property_are_optional() {
        let keys = |text| places(text).into_iter().map(|(key, ..)| key).next_back().unwrap();
        let quoted = keys("[source.properties]\n\"client.id\" = 'x'");
        assert_eq!([quoted, keys("[source.properties]\nclient.id = 'x'")], ["source.properties.client.id"; 2]);
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let error = written("readcast.toml", "[store]\nurl = \n").err().unwrap().to_string();
        assert!(error.starts_with("readcast.toml:2:7: ") && !error.contains('\n'), "{error}");
    }
}
