//! A part of a value.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Deserializes, by a seed, what stands at these names within a value.
pub(super) struct AtPath<'p, S> {
    path: &'p [String],
    seed: S,
}

impl<'p, S> AtPath<'p, S> {
    pub(super) fn new(path: &'p [String], seed: S) -> Self {
        Self { path, seed }
    }

    fn first(&self) -> &'p str {
        self.path.first().map_or("", String::as_str)
    }

    fn rest(self) -> Self {
        Self { path: self.path.get(1..).unwrap_or_default(), seed: self.seed }
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for AtPath<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        if self.path.is_empty() { self.seed.deserialize(deserializer) } else { deserializer.deserialize_any(self) }
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for AtPath<'_, S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value that has a `{}`", self.first())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<S::Value, A::Error> {
        let name = self.first();
        while let Some(is_it) = map.next_key_seed(Is(name))? {
            if is_it {
                return map.next_value_seed(self.rest());
            }
            map.next_value::<IgnoredAny>()?;
        }
        Err(A::Error::custom(format_args!("the event has no `{name}`")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<S::Value, A::Error> {
        let name = self.first();
        let missing = || A::Error::custom(format_args!("the event has no `{name}`"));
        let place: usize = name.parse().map_err(|_| missing())?;
        for _ in 0..place {
            seq.next_element::<IgnoredAny>()?.ok_or_else(missing)?;
        }
        seq.next_element_seed(self.rest())?.ok_or_else(missing)
    }
}

/// Whether a name is this one.
struct Is<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}
