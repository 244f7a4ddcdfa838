//! librdkafka's properties as they are at the moment when a client is made: a password in a file may be another by then.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientConfig;

use crate::source::SourceError;

type Pairs = Vec<(String, String)>;

/// Where the properties of a client are read.
#[derive(Clone)]
pub struct Properties(Arc<dyn Fn() -> Result<Pairs, String> + Send + Sync>);

impl Properties {
    /// What `read` gives for each client that is made. Its error must not show the values.
    pub fn read_by(read: impl Fn() -> Result<Pairs, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// What they are now. `Unavailable` while they can't be read.
    pub(super) fn current(&self) -> Result<Pairs, SourceError> {
        let doing = || "reading the properties of the Kafka client".to_owned();
        (self.0)().map_err(|reason| SourceError::Unavailable { doing: doing(), reason })
    }
}

impl<const N: usize> From<[(String, String); N]> for Properties {
    fn from(pairs: [(String, String); N]) -> Self {
        Self::read_by(move || Ok(pairs.to_vec()))
    }
}

/// `config` with the operator's `properties` over it.
pub(super) fn over(mut config: ClientConfig, properties: Pairs) -> ClientConfig {
    for (key, value) in properties {
        config.set(key, value);
    }
    config
}

/// A client that is kept as long as its properties are what they were, and made anew with others: librdkafka would go on
/// with the password that it was given.
pub(super) struct Kept<C>(Mutex<Option<(Pairs, Arc<C>)>>);

impl<C> Default for Kept<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C> Kept<C> {
    /// The client with what `properties` are now, by `make` if there is none yet.
    pub(super) fn client(
        &self,
        properties: &Properties,
        make: impl FnOnce(Pairs) -> Result<C, SourceError>,
    ) -> Result<Arc<C>, SourceError> {
        let now = properties.current()?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((with, client)) = &*kept
            && *with == now
        {
            return Ok(client.clone());
        }
        let client = Arc::new(make(now.clone())?);
        *kept = Some((now, client.clone()));
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_made_anew_when_its_properties_have_changed() {
        let password = Arc::new(Mutex::new(Ok("old".to_owned())));
        let read = password.clone();
        let properties = Properties::read_by(move || {
            read.lock().unwrap().clone().map(|text| vec![("sasl.password".to_owned(), text)])
        });
        let kept = Kept::default();
        let client = || kept.client(&properties, |pairs| Ok(pairs[0].1.clone()));
        let first = client().unwrap();
        assert!(Arc::ptr_eq(&first, &client().unwrap()));
        *password.lock().unwrap() = Err("can't read `x`".to_owned());
        assert!(matches!(client(), Err(SourceError::Unavailable { .. })));
        *password.lock().unwrap() = Ok("new".to_owned());
        assert_eq!(*client().unwrap(), "new");
        assert_eq!(*first, "old", "who has it may go on with it");
    }
}
