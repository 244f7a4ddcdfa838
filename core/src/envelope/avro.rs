//! Data in Avro's binary encoding.
//!
//! Source: the Avro specification, <https://avro.apache.org/docs/1.12.0/specification/>.

mod default;
mod kind;
mod reader;
mod resolution;
#[cfg(test)]
mod resolution_tests;

use std::borrow::Cow;
use std::io::Read;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{DeserializeSeed, IgnoredAny};
use serde_avro_fast::Schema;
use serde_avro_fast::de::{DeserializerState, read::SliceRead};
use serde_avro_fast::schema::{RegularType, SchemaMut};

pub use self::reader::AvroReaderSchema;
use super::DataError;
use super::path::AtPath;

/// The schema with which Avro data was written.
#[derive(Clone, Debug)]
pub struct AvroSchema(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    /// The text of the schema, and those of the schemas to which it refers.
    text: String,
    references: Vec<String>,
    schema: Schema,
    /// The full names of the types that a value may have: one, or those of the variants of a union.
    names: Vec<Option<String>>,
    is_union: bool,
}

impl AvroSchema {
    /// Parses the JSON text of a schema, and those of the schemas to which it refers by name. `id` is what errors call it, such
    /// as its number in a registry.
    ///
    /// # Errors
    /// When one of them is not a schema, or a name is not known.
    pub fn parse(id: impl Into<String>, text: &str, references: &[String]) -> Result<Self, DataError> {
        let schema = SchemaMut::from_schemata(text, references).map_err(DataError::new)?;
        let (names, is_union) = match &schema.root().type_ {
            RegularType::Union(union) => {
                let name = |key: &_| schema.get(*key).and_then(|node| node.type_.name());
                (union.variants.iter().map(name).collect(), true)
            }
            other => (vec![other.name()], false),
        };
        let names = names.into_iter().map(|name| Some(name?.fully_qualified_name().to_owned())).collect();
        let schema = schema.freeze().map_err(DataError::new)?;
        Ok(Self(Arc::new(Inner {
            id: id.into(),
            text: text.to_owned(),
            references: references.to_vec(),
            schema,
            names,
            is_union,
        })))
    }

    /// The full name of the type of the value in `bytes`, such as `com.bank.AccountOpened`. `None` if it has no name.
    fn name_of(&self, bytes: &[u8]) -> Option<&str> {
        let Inner { names, is_union, .. } = &*self.0;
        // A union has the index of its variant before the value, as a zigzag number; the first 64 take one byte.
        let variant = if *is_union { usize::from(bytes.first()? / 2) } else { 0 };
        names.get(variant)?.as_deref()
    }
}

/// Data in Avro's binary encoding, with the schema with which it was written.
#[derive(Clone, Debug)]
pub struct Avro<'a> {
    bytes: Cow<'a, [u8]>,
    schema: AvroSchema,
    /// The names that lead from the value to the data.
    path: Arc<[String]>,
}

impl<'a> Avro<'a> {
    /// The value in `bytes`, without a frame around it. It is looked at when it is read.
    pub fn new(bytes: impl Into<Cow<'a, [u8]>>, schema: AvroSchema) -> Self {
        Self { bytes: bytes.into(), schema, path: Arc::default() }
    }

    /// The full name of the value's type, such as `com.bank.AccountOpened`. `None` if it has no name.
    pub fn type_name(&self) -> Option<&str> {
        self.schema.name_of(&self.bytes)
    }

    /// The data at these names within the value, which are those of fields, keys of maps or indexes of arrays.
    #[must_use]
    pub fn at(self, path: Arc<[String]>) -> Self {
        Self { path, ..self }
    }

    /// Deserializes the whole value by `seed`, and makes sure that the bytes are one value of the schema.
    ///
    /// # Errors
    /// When they are not, or the value does not have the form that `seed` expects.
    pub fn read<'s, S: DeserializeSeed<'s>>(&'s self, seed: S) -> Result<S::Value, DataError> {
        // What the seed does not read counts as well, so it may be the bytes that are wrong when it is satisfied, and it when they
        // are right.
        self.read_to_end(seed).map_err(|error| match self.read_to_end(PhantomData::<IgnoredAny>) {
            Ok(IgnoredAny) => error,
            Err(misfit) => DataError::new(format!("the value does not fit its schema, {}: {misfit}", self.schema.0.id)),
        })
    }

    #[cfg(test)]
    fn deserialize<'s, T: serde::Deserialize<'s>>(&'s self) -> Result<T, DataError> {
        self.read_data(std::marker::PhantomData)
    }

    pub(super) fn read_data<'s, S: DeserializeSeed<'s>>(&'s self, seed: S) -> Result<S::Value, DataError> {
        if self.path.is_empty() {
            return self.read(seed);
        }
        AtPath::new(&self.path, seed).deserialize(self.state().deserializer()).map_err(DataError::new)
    }

    fn read_to_end<'s, S: DeserializeSeed<'s>>(&'s self, seed: S) -> Result<S::Value, DataError> {
        let mut state = self.state();
        let read = seed.deserialize(state.deserializer()).map_err(DataError::new)?;
        match state.into_reader().bytes().next() {
            None => Ok(read),
            Some(_) => Err(DataError::new("bytes follow the value: it was written with another schema")),
        }
    }

    pub(super) fn into_owned(self) -> Avro<'static> {
        Avro { bytes: Cow::Owned(self.bytes.into_owned()), schema: self.schema, path: self.path }
    }

    fn state(&self) -> DeserializerState<'_, SliceRead<'_>> {
        DeserializerState::from_slice(&self.bytes, &self.schema.0.schema)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::Decimal;

    const ACCOUNT: &str = r#"{"type":"record","name":"AccountOpened","namespace":"com.bank","fields":[
        {"name":"id","type":"string"},
        {"name":"balance","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}},
        {"name":"owner","type":["null",{"type":"record","name":"Owner","fields":[{"name":"name","type":"string"}]}]}]}"#;

    #[derive(Deserialize)]
    struct Account<'a> {
        id: &'a str,
        balance: Decimal,
        owner: Option<Owner<'a>>,
        #[serde(default)]
        closed: bool,
    }

    #[derive(Deserialize)]
    struct Owner<'a> {
        name: &'a str,
    }

    /// `a1` with this balance in cents, owned by Ann.
    fn account(cents: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x04a1".to_vec();
        bytes.push(cents.len() as u8 * 2);
        bytes.extend_from_slice(cents);
        bytes.extend_from_slice(b"\x02\x06Ann");
        bytes
    }

    fn schema() -> AvroSchema {
        AvroSchema::parse("7", ACCOUNT, &[]).expect("a schema")
    }

    #[test]
    fn a_record_becomes_a_type_with_exact_decimals() {
        for (cents, balance) in [
            (&[0x00][..], "0"),
            (&[0x04, 0xd2], "12.34"),
            (&[0xff], "-0.01"),
            (&[0x00, 0xab, 0x54, 0xa9, 0x8c, 0xeb, 0x1f, 0x0a, 0xd2], "123456789012345678.90"),
        ] {
            let bytes = account(cents);
            let avro = Avro::new(&bytes, schema());
            let read: Account<'_> = avro.deserialize().expect("an account");
            assert_eq!((read.id, &*read.balance.to_string(), read.closed), ("a1", balance, false));
            assert_eq!(read.owner.map(|owner| owner.name), Some("Ann"));
        }
    }

    #[test]
    fn what_is_not_one_value_of_the_schema_is_refused() {
        /// The type asks for less than the value has.
        #[derive(Debug, Deserialize)]
        struct Id<'a> {
            id: &'a str,
        }
        let refused = |bytes: &[u8]| {
            let error = Avro::new(bytes, schema()).deserialize::<Id<'_>>().expect_err("no account").to_string();
            assert!(error.starts_with("the value does not fit its schema, 7: "), "{error}");
        };
        let whole = account(&[1]);
        (0..whole.len()).for_each(|length| refused(&whole[..length]));
        refused(&[&whole[..], b"x"].concat());
        let mut other_variant = whole.clone();
        other_variant[5] = 8;
        refused(&other_variant);
        assert!(Avro::new(&whole, schema()).deserialize::<Id<'_>>().is_ok_and(|account| account.id == "a1"));
        // The value is what it should be, and the type asks for something else.
        let other = Avro::new(&whole, schema()).deserialize::<u8>().expect_err("no number").to_string();
        assert!(other.starts_with("invalid type"), "{other}");
    }

    #[test]
    fn the_name_of_a_value_is_that_of_its_record() {
        assert_eq!(schema().name_of(&account(&[1])), Some("com.bank.AccountOpened"));
        let union = r#"["null",{"type":"record","name":"a.B","fields":[]},"string"]"#;
        let union = AvroSchema::parse("7", union, &[]).expect("a schema");
        assert_eq!(
            [b"\x00", b"\x02", b"\x04", b"\x08"].map(|bytes| union.name_of(bytes)),
            [None, Some("a.B"), None, None]
        );
        assert_eq!(union.name_of(b""), None);
    }

    #[test]
    fn a_schema_may_refer_to_others_and_to_itself_but_not_hold_itself() {
        let owner = r#"{"type":"record","name":"com.bank.Owner","fields":[{"name":"name","type":"string"}]}"#;
        let account = r#"{"type":"record","name":"A","fields":[{"name":"owner","type":"com.bank.Owner"}]}"#;
        assert!(AvroSchema::parse("7", account, &[]).is_err());
        assert!(AvroSchema::parse("7", account, &[owner.to_owned()]).is_ok());
        let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
        let list = AvroSchema::parse("7", list, &[]).expect("a schema");
        assert!(Avro::new(vec![2; 1_000_000], list).deserialize::<IgnoredAny>().is_err(), "nested too deeply");
        assert!(
            AvroSchema::parse("7", r#"{"type":"record","name":"L","fields":[{"name":"next","type":"L"}]}"#, &[])
                .is_err()
        );
    }

    #[test]
    fn data_may_be_a_part_of_the_value() {
        let bytes = account(&[1]);
        let avro = Avro::new(&bytes, schema());
        let at = |path: &[&str]| avro.clone().at(path.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(at(&["owner", "name"]).deserialize::<&str>().expect("a name"), "Ann");
        assert_eq!(at(&["owner"]).deserialize::<Owner<'_>>().expect("an owner").name, "Ann");
        let missing = at(&["owner", "age"]).deserialize::<&str>().expect_err("no age").to_string();
        assert_eq!(missing, "the event has no `age`");
    }
}
