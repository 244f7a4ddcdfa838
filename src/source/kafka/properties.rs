//! librdkafka's properties, read again for each client: a password in a file may have changed.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientConfig;

use crate::source::SourceError;

/// Names and values of properties.
type PropertyList = Vec<(String, String)>;

/// Reads the properties of a Kafka client. Cheap to clone.
#[derive(Clone)]
pub struct Properties(Arc<dyn Fn() -> Result<PropertyList, String> + Send + Sync>);

impl Properties {
    /// Properties that `read` returns, called for each new client. Its error must not contain secret values.
    pub fn read_by(read: impl Fn() -> Result<PropertyList, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The current properties.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] if they can't be read now.
    pub(super) fn current(&self) -> Result<PropertyList, SourceError> {
        let doing = || "reading the properties of the Kafka client".to_owned();
        (self.0)().map_err(|reason| SourceError::Unavailable { doing: doing(), reason })
    }
}

impl<const N: usize> From<[(String, String); N]> for Properties {
    fn from(pairs: [(String, String); N]) -> Self {
        Self::read_by(move || Ok(pairs.to_vec()))
    }
}

/// `config`, overridden by the operator's `properties`.
pub(super) fn over(mut config: ClientConfig, properties: PropertyList) -> ClientConfig {
    for (key, value) in properties {
        config.set(key, value);
    }
    config
}

/// A client that is replaced when its properties change. librdkafka itself never reads a password again.
pub(super) struct CachedClient<C>(Mutex<Option<(PropertyList, Arc<C>)>>);

impl<C> Default for CachedClient<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C> CachedClient<C> {
    /// The client with the current `properties`. `make` creates it if there is none with these properties.
    pub(super) fn client(
        &self,
        properties: &Properties,
        make: impl FnOnce(PropertyList) -> Result<C, SourceError>,
    ) -> Result<Arc<C>, SourceError> {
        let current = properties.current()?;
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((with, client)) = &*cached
            && *with == current
        {
            return Ok(client.clone());
        }
        let client = Arc::new(make(current.clone())?);
        *cached = Some((current, client.clone()));
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_replaced_when_its_properties_change() {
        let password = Arc::new(Mutex::new(Ok("old".to_owned())));
        let read = password.clone();
        let properties = Properties::read_by(move || {
            read.lock().unwrap().clone().map(|text| vec![("sasl.password".to_owned(), text)])
        });
        let cached = CachedClient::default();
        let client = || cached.client(&properties, |pairs| Ok(pairs[0].1.clone()));
        let first = client().unwrap();
        assert!(Arc::ptr_eq(&first, &client().unwrap()));
        *password.lock().unwrap() = Err("can't read `x`".to_owned());
        assert!(matches!(client(), Err(SourceError::Unavailable { .. })));
        *password.lock().unwrap() = Ok("new".to_owned());
        assert_eq!(*client().unwrap(), "new");
        assert_eq!(*first, "old", "an earlier client stays usable");
    }
}
