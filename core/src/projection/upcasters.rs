//! Events of earlier versions, brought to the current one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ProjectionError;
use crate::{Envelope, Payload};

/// Functions that bring the data of an event from one version to the next, by type and version. They are pure.
///
/// ```
/// use readcast_core::{Decimal, Upcasters};
/// use serde::{Deserialize, Serialize};
///
/// /// Version 1 counted cents.
/// #[derive(Deserialize)]
/// struct DepositedV1 {
///     cents: i64,
/// }
///
/// #[derive(Deserialize, Serialize)]
/// struct Deposited {
///     amount: Decimal,
/// }
///
/// let upcasters = Upcasters::new()
///     .upcast("MoneyDeposited", 1, |old: DepositedV1| Ok(Deposited { amount: Decimal::new(old.cents, 2) }));
/// ```
#[derive(Clone, Default)]
pub struct Upcasters {
    by_type: BTreeMap<String, BTreeMap<u32, Link>>,
    problems: Vec<String>,
}

/// The function that brings an event to the next version, and what it is made of, if that is not code.
#[derive(Clone)]
struct Link {
    upcast: Upcast,
    declared: String,
}

type Upcast = Arc<dyn Fn(&Envelope<'_>) -> Result<Payload<'static>, ProjectionError> + Send + Sync>;

impl Upcasters {
    /// A projection that takes every event in the version in which it was written.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the function that brings events of `event_type` from `version` to the version after it. It gets the data of
    /// the earlier version and returns that of the next one, which is then deserialized again.
    #[must_use]
    pub fn upcast<Old, New, F>(mut self, event_type: &str, version: u32, function: F) -> Self
    where
        Old: DeserializeOwned,
        New: Serialize,
        F: Fn(Old) -> Result<New, ProjectionError> + Send + Sync + 'static,
    {
        self.add(event_type, version, String::new(), move |event| {
            let next = function(event.data()?)?;
            Ok(Payload::json(serde_json::to_string(&next)?)?)
        });
        self
    }

    /// As [`upcast`](Self::upcast), with a function of the whole event that is made of data, such as a file. `declared` says
    /// what it does; it is a part of the declaration's hash.
    #[must_use]
    pub fn upcast_event_by<F>(
        mut self,
        event_type: &str,
        version: u32,
        declared: impl Into<String>,
        function: F,
    ) -> Self
    where
        F: Fn(&Envelope<'_>) -> Result<Payload<'static>, ProjectionError> + Send + Sync + 'static,
    {
        self.add(event_type, version, declared.into(), function);
        self
    }

    /// These upcasters and those of `other`, such as the ones of a file.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.problems.extend(other.problems);
        for (event_type, chain) in other.by_type {
            for (version, link) in chain {
                self.insert(&event_type, version, link);
            }
        }
        self
    }

    fn add<F>(&mut self, event_type: &str, version: u32, declared: String, function: F)
    where
        F: Fn(&Envelope<'_>) -> Result<Payload<'static>, ProjectionError> + Send + Sync + 'static,
    {
        self.insert(event_type, version, Link { upcast: Arc::new(function), declared });
    }

    fn insert(&mut self, event_type: &str, version: u32, link: Link) {
        if self.by_type.entry(event_type.to_owned()).or_default().insert(version, link).is_some() {
            self.problems.push(format!("`{event_type}` has two upcasters from version {version}"));
        }
    }

    /// The event in the version that the last upcaster of its type makes. `None` if it is no earlier one.
    ///
    /// # Errors
    /// When one of the functions fails, with the versions between which it is.
    pub fn apply<'a>(&self, event: &Envelope<'a>) -> Result<Option<Envelope<'a>>, ProjectionError> {
        let Some(chain) = self.by_type.get(&*event.event_type) else { return Ok(None) };
        let mut current: Option<Envelope<'a>> = None;
        while let Some((version, Link { upcast, .. })) = chain.get_key_value(&current.as_ref().unwrap_or(event).version)
        {
            let earlier = current.as_ref().unwrap_or(event);
            let payload = upcast(earlier).map_err(|error| {
                format!("bringing `{}` from version {version} to {}: {error}", event.event_type, version + 1)
            })?;
            current = Some(Envelope { version: version + 1, payload, ..earlier.clone() });
        }
        Ok(current)
    }

    /// Everything that is wrong with the upcasters, a sentence each. `subscribes` tells which types the projection takes.
    pub(super) fn problems(&self, subscribes: impl Fn(&str) -> bool) -> Vec<String> {
        let mut problems = self.problems.clone();
        for (event_type, chain) in &self.by_type {
            if !subscribes(event_type) {
                problems
                    .push(format!("there are upcasters of `{event_type}`, to which the projection does not subscribe"));
            }
            let links = chain.keys().zip(chain.keys().skip(1));
            problems.extend(links.filter(|(from, next)| **next != **from + 1).map(|(from, next)| {
                format!(
                    "`{event_type}` has upcasters to version {} and from version {next}, and none between",
                    from + 1
                )
            }));
        }
        problems
    }

    /// Types and versions, for the digest of a declaration. Empty without upcasters.
    pub(super) fn described(&self) -> String {
        let links =
            self.by_type.iter().flat_map(|(event_type, chain)| chain.iter().map(move |link| (event_type, link)));
        links.map(|(event_type, (from, link))| format!("\n{event_type} {from}{}", link.declared)).collect()
    }
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_type.iter().map(|(event_type, chain)| (event_type, chain.keys()))).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::testing::{event, given, try_given};
    use crate::{Changes, ColumnType, Decimal, Projection, Registry, TableSpec};

    /// The sum of deposits, whose data was a number of cents, then an amount, then has a currency, too.
    #[derive(Default)]
    struct Deposits {
        upcasters: Upcasters,
    }

    #[derive(Deserialize, Serialize)]
    struct V2 {
        amount: Decimal,
    }

    #[derive(Deserialize, Serialize)]
    struct V3 {
        amount: Decimal,
        currency: String,
    }

    fn chain() -> Upcasters {
        Upcasters::new().upcast("Deposited", 2, |old: V2| Ok(V3 { amount: old.amount, currency: "EUR".into() })).upcast(
            "Deposited",
            1,
            |cents: i64| match cents {
                0 => Err("nothing was deposited".into()),
                cents => Ok(V2 { amount: Decimal::new(cents, 2) }),
            },
        )
    }

    impl Projection for Deposits {
        fn name(&self) -> &str {
            "deposits"
        }

        fn topics(&self) -> &[&str] {
            &["deposits"]
        }

        fn event_types(&self) -> &[&str] {
            &["Deposited"]
        }

        fn upcasters(&self) -> Upcasters {
            self.upcasters.clone()
        }

        fn tables(&self) -> Vec<TableSpec> {
            let sums = TableSpec::new("sums").key("currency", ColumnType::Text);
            vec![sums.with_default("sum", ColumnType::Decimal { scale: 2 }, 0)]
        }

        fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
            assert_eq!(event.version, 3);
            let V3 { amount, currency } = event.data()?;
            changes.upsert("sums", [currency]).add("sum", amount);
            Ok(())
        }
    }

    #[test]
    fn every_version_reaches_the_projection_as_the_current_one() {
        let deposits = Deposits { upcasters: chain() };
        let events = [
            event("Deposited", "1250"),
            event("Deposited", r#"{"amount":"0.10"}"#).version(2),
            event("Deposited", r#"{"amount":12345678901234567.89,"currency":"CHF"}"#).version(3),
        ];
        given(deposits, events).then("sums", "currency | sum\n EUR | 12.60\n CHF | 12345678901234567.89");
    }

    #[test]
    fn an_error_names_the_step() {
        let refused = |event| try_given(Deposits { upcasters: chain() }, [event]).map(drop).unwrap_err();
        let none = "event 0: bringing `Deposited` from version 1 to 2: nothing was deposited";
        assert_eq!(refused(event("Deposited", "0")), none);
        let missing = refused(event("Deposited", "{}").version(2));
        assert!(missing.starts_with("event 0: bringing `Deposited` from version 2 to 3: missing field"), "{missing}");
    }

    #[test]
    fn missing_links_and_strange_types_are_problems() {
        let identity = |old: i64| Ok(old);
        let upcasters = Upcasters::new()
            .upcast("Deposited", 1, identity)
            .upcast("Deposited", 1, identity)
            .upcast("Deposited", 4, identity)
            .upcast("Lost", 1, identity);
        let problems = Registry::new().register(Deposits { upcasters }).validate().unwrap_err().to_string();
        for part in [
            "`Deposited` has two upcasters from version 1",
            "`Deposited` has upcasters to version 2 and from version 4, and none between",
            "there are upcasters of `Lost`, to which the projection does not subscribe",
        ] {
            assert!(problems.contains(part), "{problems}");
        }
    }

    #[test]
    fn upcasters_are_a_part_of_the_declaration() {
        let hash = |upcasters| Registry::new().register(Deposits { upcasters }).definitions()[0].hash().to_owned();
        assert_ne!(hash(Upcasters::new()), hash(chain()));
        assert_eq!(hash(chain()), hash(chain()));
        let declared = |text: &str| {
            hash(Upcasters::new().upcast_event_by("Deposited", 1, text, |event| Ok(event.payload.clone().into_owned())))
        };
        assert_eq!(declared("a"), declared("a"));
        assert_ne!(declared("a"), declared("b"), "what it is made of counts as well");
        assert_eq!(hash(Upcasters::new().and(chain())), hash(chain()));
    }
}
