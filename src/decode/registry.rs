//! The schema registry behind the decoders, in programs that are built with one.

use crate::config::{RegistryOptions, TopicOptions};

use super::message::Reader;

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

    pub(super) async fn check(&self) -> Option<Result<String, String>> {
        Some(self.0.as_ref()?.check().await)
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

    pub(super) async fn check(&self) -> Option<Result<String, String>> {
        None
    }
}
