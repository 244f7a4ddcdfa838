//! The schema registry behind the decoders, in programs that are built with one.

use readcast_core::Payload;

use super::DecodeError;
use super::message::Reader;
use crate::config::{RegistryOptions, TopicOptions};
#[cfg(feature = "_registry")]
use crate::registry::{OF_KEY, framed};
use crate::source::{Record, SourceError};

/// The registry that is configured, if one is.
#[cfg(feature = "_registry")]
#[derive(Clone, Default)]
pub(super) struct Registry(Option<std::sync::Arc<crate::registry::SchemaRegistry>>);

/// Nothing: the program has no format that needs one.
#[cfg(not(feature = "_registry"))]
#[derive(Clone, Default)]
pub(super) struct Registry;

#[cfg(feature = "_registry")]
impl Registry {
    pub(super) fn new(options: &RegistryOptions) -> Result<Self, String> {
        use crate::registry::{Client, Credentials, SchemaRegistry};

        let RegistryOptions { url, username, password, token, ca } = options;
        let Some(url) = url else { return Ok(Self(None)) };
        let url = url.current().map_err(|error| format!("`registry.url`: {error}"))?;
        let ca = ca.as_ref().map(std::fs::read).transpose().map_err(|error| format!("`registry.ca`: {error}"))?;
        let credentials = Credentials { username: username.clone(), password: password.clone(), token: token.clone() };
        let client = Client::new(url.expose(), ca.as_deref(), credentials);
        let client = client.map_err(|problem| format!("`registry.url`: {problem}"))?;
        Ok(Self(Some(std::sync::Arc::new(SchemaRegistry::new(client)))))
    }

    pub(super) fn reader(&self, topic: &TopicOptions) -> Result<Box<dyn Reader>, String> {
        let registry = self.0.clone().ok_or("set `registry.url` to the schema registry")?;
        Ok(Box::new(super::framed::FramedReader::new(registry, topic)?))
    }

    pub(super) fn key_schemas(&self) -> Result<KeySchemas, String> {
        Ok(KeySchemas(self.0.clone().ok_or("set `registry.url` to the schema registry")?))
    }

    pub(super) async fn check(&self) -> Option<Result<String, String>> {
        Some(self.0.as_ref()?.check().await)
    }
}

/// The schemas of keys.
#[cfg(feature = "_registry")]
pub(super) struct KeySchemas(std::sync::Arc<crate::registry::SchemaRegistry>);

#[cfg(feature = "_registry")]
impl KeySchemas {
    pub(super) fn payload<'r>(&self, record: &'r Record) -> Result<Payload<'r>, DecodeError> {
        let key = record.key.as_deref().unwrap_or_default();
        super::framed::payload(&self.0, framed(key, &record.headers, OF_KEY)?)
    }

    pub(super) async fn prepare(&self, records: &[Record]) -> Result<(), SourceError> {
        let id = |record: &Record| Some(framed(record.key.as_deref()?, &record.headers, OF_KEY).ok()?.id);
        super::framed::fetch(&self.0, records.iter().filter_map(id).collect()).await
    }
}

/// Nothing: there is no registry.
#[cfg(not(feature = "_registry"))]
pub(super) enum KeySchemas {}

#[cfg(not(feature = "_registry"))]
impl KeySchemas {
    pub(super) fn payload<'r>(&self, _: &'r Record) -> Result<Payload<'r>, DecodeError> {
        match *self {}
    }

    pub(super) async fn prepare(&self, _: &[Record]) -> Result<(), SourceError> {
        match *self {}
    }
}

#[cfg(not(feature = "_registry"))]
impl Registry {
    pub(super) fn new(_: &RegistryOptions) -> Result<Self, String> {
        Ok(Self)
    }

    pub(super) fn reader(&self, _: &TopicOptions) -> Result<Box<dyn Reader>, String> {
        Err("this program is built without the features `avro` and `protobuf`".to_owned())
    }

    pub(super) fn key_schemas(&self) -> Result<KeySchemas, String> {
        Err("this program is built without the features `avro` and `protobuf`".to_owned())
    }

    pub(super) async fn check(&self) -> Option<Result<String, String>> {
        None
    }
}
