//! Data in Protobuf's binary encoding.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

mod deserialize;
mod files;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod well_known_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_reflect::{DynamicMessage, FileDescriptor, MessageDescriptor, ReflectMessage as _};
use protox::Compiler;
use protox::file::{ChainFileResolver, GoogleFileResolver};
use serde::de::DeserializeSeed;

use self::deserialize::Item;
use self::files::{CommonTypes, Files};
use super::DataError;
use super::path::AtPath;

/// A `.proto` file: the messages that Protobuf data may be.
#[derive(Clone, Debug)]
pub struct ProtobufSchema(FileDescriptor);

/// A Protobuf message with its descriptor.
#[derive(Clone, Debug)]
pub struct Protobuf {
    message: Arc<DynamicMessage>,
    /// The names that lead from the message to the data.
    path: Arc<[String]>,
}

impl ProtobufSchema {
    /// Parses the text of a `.proto` file, or its descriptor in base64, and those of the files that it imports, by their names.
    /// Google's well-known and common types need not be among them.
    ///
    /// # Errors
    /// When one of them is not such a file, or imports one that is missing.
    pub fn parse(text: &str, imports: &[(String, String)]) -> Result<Self, DataError> {
        const NAME: &str = "schema-of-the-value.proto";
        let mut files: BTreeMap<String, String> = imports.iter().cloned().collect();
        files.insert(NAME.to_owned(), text.to_owned());
        let mut resolver = ChainFileResolver::new();
        resolver.add(Files(files));
        resolver.add(CommonTypes);
        resolver.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(resolver);
        compiler.include_imports(true).open_file(NAME).map_err(DataError::new)?;
        let file = compiler.descriptor_pool().get_file_by_name(NAME);
        file.map(Self).ok_or_else(|| DataError::new("the file holds no definitions"))
    }

    /// The full name of the message at `indexes`: its place in the file, then its place in that message, and so on.
    pub fn name_of(&self, indexes: &[usize]) -> Option<String> {
        Some(self.message(indexes)?.full_name().to_owned())
    }

    fn message(&self, indexes: &[usize]) -> Option<MessageDescriptor> {
        let (first, rest) = indexes.split_first()?;
        let message = self.0.messages().nth(*first)?;
        rest.iter().try_fold(message, |message, index| message.child_messages().nth(*index))
    }
}

impl Protobuf {
    /// The message in `bytes`, without a frame around it, of the type at `indexes` of the schema.
    ///
    /// # Errors
    /// When the schema has no such message, or `bytes` are none.
    pub fn new(bytes: &[u8], schema: &ProtobufSchema, indexes: &[usize]) -> Result<Self, DataError> {
        let descriptor = schema.message(indexes);
        let descriptor =
            descriptor.ok_or_else(|| DataError::new(format!("the schema has no message at {indexes:?}")))?;
        let message = DynamicMessage::decode(descriptor, bytes).map_err(DataError::new)?;
        Ok(Self { message: Arc::new(message), path: Arc::new([]) })
    }

    /// The full name of the message's type.
    pub fn type_name(&self) -> String {
        self.message.descriptor().full_name().to_owned()
    }

    /// The data at these names within the message, which are those of fields in the `.proto` file, keys of maps or indexes of
    /// repeated fields.
    #[must_use]
    pub fn at(self, path: Arc<[String]>) -> Self {
        Self { path, ..self }
    }

    /// Deserializes the whole message by `seed`. Fields have their names in the `.proto` file; those that are not set and have
    /// no presence have their defaults. The well-known types have their forms in JSON.
    ///
    /// # Errors
    /// When the message does not have the form that `seed` expects.
    pub fn read<'s, S: DeserializeSeed<'s>>(&'s self, seed: S) -> Result<S::Value, DataError> {
        seed.deserialize(Item::of_message(&self.message)).map_err(DataError::new)
    }

    #[cfg(test)]
    fn deserialize<'s, T: serde::Deserialize<'s>>(&'s self) -> Result<T, DataError> {
        self.read_data(std::marker::PhantomData)
    }

    pub(super) fn read_data<'s, S: DeserializeSeed<'s>>(&'s self, seed: S) -> Result<S::Value, DataError> {
        self.read(AtPath::new(&self.path, seed))
    }
}
