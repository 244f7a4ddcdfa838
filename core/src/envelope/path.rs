//! A part of a value.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Deserializes what stands at these names within a value.
pub(super) struct AtPath<'p, T> {
    path: &'p [String],
    wanted: PhantomData<T>,
}

impl<'p, T> AtPath<'p, T> {
    pub(super) fn new(path: &'p [String]) -> Self {
        Self { path, wanted: PhantomData }
    }

    fn split(&self) -> (&'p str, Self) {
        match self.path {
            [first, rest @ ..] => (first, Self::new(rest)),
            [] => ("", Self::new(&[])),
        }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for AtPath<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        if self.path.is_empty() { T::deserialize(deserializer) } else { deserializer.deserialize_any(self) }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtPath<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value that has a `{}`", self.split().0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let (name, rest) = self.split();
        while let Some(is_it) = map.next_key_seed(Is(name))? {
            if is_it {
                return map.next_value_seed(rest);
            }
            map.next_value::<IgnoredAny>()?;
        }
        Err(A::Error::custom(format_args!("the event has no `{name}`")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        let (name, rest) = self.split();
        let missing = || A::Error::custom(format_args!("the event has no `{name}`"));
        let place: usize = name.parse().map_err(|_| missing())?;
        for _ in 0..place {
            seq.next_element::<IgnoredAny>()?.ok_or_else(missing)?;
        }
        seq.next_element_seed(rest)?.ok_or_else(missing)
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
