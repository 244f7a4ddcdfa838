//! Values in a JSON text by their JSON Pointers (RFC 6901), without a tree of the whole text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

/// Several pointers, which are looked up together.
#[derive(Debug, Default)]
pub(super) struct Pointers {
    root: Node,
    count: usize,
}

/// The place of a pointer's value in [`Found`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// What was found, by slots.
#[derive(Debug)]
pub(super) struct Found<'j>(SmallVec<[Option<Part<'j>>; 8]>);

/// What stands at a pointer.
#[derive(Clone, Debug)]
enum Part<'j> {
    Json(&'j RawValue),
    /// A text, or a number as a text, of another format.
    #[cfg(feature = "_registry")]
    Text(String),
    /// Anything else of another format.
    #[cfg(feature = "_registry")]
    Other,
}

/// The value at the place is neither a text nor a number.
#[derive(Debug)]
pub(super) struct NotAText;

#[derive(Debug, Default)]
struct Node {
    slot: Option<usize>,
    /// By the names of members, which in an array are indexes.
    children: Vec<(String, Node)>,
}

impl Pointers {
    /// Adds a pointer, whose value will be found in the slot.
    pub(super) fn add(&mut self, pointer: &str) -> Slot {
        let mut node = &mut self.root;
        for name in names(pointer) {
            let place = node.children.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
                node.children.push((name, Node::default()));
                node.children.len() - 1
            });
            node = &mut node.children[place].1;
        }
        let slot = *node.slot.get_or_insert(self.count);
        self.count = self.count.max(slot + 1);
        Slot(slot)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values of all pointers in `json`. The last one counts where an object has a member twice.
    pub(super) fn find<'j>(&self, json: &'j RawValue) -> Result<Found<'j>, serde_json::Error> {
        let mut found = Found(SmallVec::from_elem(None, self.count));
        self.root.find(json, &mut found)?;
        Ok(found)
    }

    /// The texts of all pointers in the value that `read` deserializes by the given seed.
    #[cfg(feature = "_registry")]
    pub(super) fn texts<'j, E>(&self, read: impl FnOnce(Texts<'_, '_, 'j>) -> Result<(), E>) -> Result<Found<'j>, E> {
        let mut found = Found(SmallVec::from_elem(None, self.count));
        read(Texts { of: &self.root, found: &mut found.0 })?;
        Ok(found)
    }
}

impl<'j> Found<'j> {
    /// The JSON value in the slot, unless it is missing or null.
    pub(super) fn json(&self, Slot(slot): Slot) -> Option<&'j RawValue> {
        match self.0.get(slot)? {
            Some(Part::Json(json)) if json.get() != "null" => Some(json),
            _ => None,
        }
    }

    /// The text or number in the slot, unless it is missing or null.
    pub(super) fn text(&self, place: Slot) -> Result<Option<Cow<'j, str>>, NotAText> {
        #[cfg(feature = "_registry")]
        match self.0.get(place.0) {
            Some(Some(Part::Text(text))) => return Ok(Some(Cow::Owned(text.clone()))),
            Some(Some(Part::Other)) => return Err(NotAText),
            _ => {}
        }
        self.json(place).map(|json| scalar(json).ok_or(NotAText)).transpose()
    }
}

impl Node {
    fn find<'j>(&self, json: &'j RawValue, found: &mut Found<'j>) -> Result<(), serde_json::Error> {
        if let Some(slot) = self.slot {
            found.0[slot] = Some(Part::Json(json));
        }
        let is_container = json.get().starts_with(['{', '[']);
        match self.children.is_empty() || !is_container {
            true => Ok(()),
            false => serde_json::Deserializer::from_str(json.get()).deserialize_any(Members { of: self, found }),
        }
    }

    fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|(other, _)| other == name).map(|(_, node)| node)
    }
}

/// Reads the members of an object or an array that lead to a pointer's value.
struct Members<'n, 'f, 'j> {
    of: &'n Node,
    found: &'f mut Found<'j>,
}

impl<'j> Visitor<'j> for Members<'_, '_, 'j> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(ChildOf(self.of))? {
            match child {
                Some(child) => child.find(map.next_value()?, self.found).map_err(serde::de::Error::custom)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut place = 0_usize;
        while let Some(item) = seq.next_element::<&'j RawValue>()? {
            if let Some(child) = self.of.child(&place.to_string()) {
                child.find(item, self.found).map_err(serde::de::Error::custom)?;
            }
            place += 1;
        }
        Ok(())
    }
}

/// Collects the texts that pointers lead to, from a value of any format.
#[cfg(feature = "_registry")]
pub(super) struct Texts<'n, 'f, 'j> {
    of: &'n Node,
    found: &'f mut [Option<Part<'j>>],
}

#[cfg(feature = "_registry")]
mod texts {
    use std::fmt;

    use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

    use super::{ChildOf, Part, Texts};

    impl<'j> Texts<'_, '_, 'j> {
        fn set(self, part: Part<'j>) {
            if let Some(slot) = self.of.slot {
                self.found[slot] = Some(part);
            }
        }
    }

    impl<'de> DeserializeSeed<'de> for Texts<'_, '_, '_> {
        type Value = ();

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_any(self)
        }
    }

    impl<'de> Visitor<'de> for Texts<'_, '_, '_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any value")
        }

        fn visit_str<E>(self, text: &str) -> Result<(), E> {
            self.set(Part::Text(text.to_owned()));
            Ok(())
        }

        fn visit_i64<E>(self, number: i64) -> Result<(), E> {
            self.set(Part::Text(number.to_string()));
            Ok(())
        }

        fn visit_u64<E>(self, number: u64) -> Result<(), E> {
            self.set(Part::Text(number.to_string()));
            Ok(())
        }

        fn visit_f64<E>(self, number: f64) -> Result<(), E> {
            self.set(Part::Text(number.to_string()));
            Ok(())
        }

        fn visit_bool<E>(self, value: bool) -> Result<(), E> {
            self.set(Part::Text(value.to_string()));
            Ok(())
        }

        fn visit_bytes<E>(self, _: &[u8]) -> Result<(), E> {
            self.set(Part::Other);
            Ok(())
        }

        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(child) = map.next_key_seed(ChildOf(self.of))? {
                match child {
                    Some(child) => map.next_value_seed(Texts { of: child, found: &mut *self.found })?,
                    None => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            self.set(Part::Other);
            Ok(())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            for place in 0_usize.. {
                let is_item = match self.of.child(&place.to_string()) {
                    Some(child) => seq.next_element_seed(Texts { of: child, found: &mut *self.found })?.is_some(),
                    None => seq.next_element::<IgnoredAny>()?.is_some(),
                };
                if !is_item {
                    break;
                }
            }
            self.set(Part::Other);
            Ok(())
        }
    }
}

/// The child that the name of a member leads to.
struct ChildOf<'n>(&'n Node);

impl<'j, 'n> DeserializeSeed<'j> for ChildOf<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for ChildOf<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.child(name))
    }
}

/// The names of members that a pointer holds.
pub(super) fn names(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"))
}

/// The JSON value in these bytes. A byte order mark before it is ignored, as RFC 8259 allows.
pub(super) fn json_in(bytes: &[u8]) -> Result<&RawValue, serde_json::Error> {
    serde_json::from_slice(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes))
}

/// The text of a JSON value: that of a string, or the digits or the word. `None` for an object, an array and null.
pub(super) fn scalar(json: &RawValue) -> Option<Cow<'_, str>> {
    let raw = json.get();
    match raw.as_bytes().first()? {
        b'"' => match serde_json::from_str::<&str>(raw) {
            Ok(text) => Some(Cow::Borrowed(text)),
            Err(_) => serde_json::from_str(raw).ok().map(Cow::Owned),
        },
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(raw)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, pointers: &[&str]) -> Vec<Option<String>> {
        let mut all = Pointers::default();
        let slots: Vec<Slot> = pointers.iter().map(|pointer| all.add(pointer)).collect();
        let json = json_in(json.as_bytes()).expect("JSON");
        let found = all.find(json).expect("JSON");
        slots.into_iter().map(|slot| found.json(slot).map(|json| json.get().to_owned())).collect()
    }

    #[test]
    fn pointers_are_found_as_the_rfc_lists_them() {
        let json = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"k\"l":6," ":7,"m~n":8}"#;
        let pointers = ["", "/foo", "/foo/0", "/", "/a~1b", "/c%d", "/e^f", "/k\"l", "/ ", "/m~0n"];
        let values = [json, r#"["bar","baz"]"#, r#""bar""#, "0", "1", "2", "3", "6", "7", "8"];
        assert_eq!(found(json, &pointers), values.map(|value| Some(value.to_owned())));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let json = r#"{"a":{"b":null},"c":[1],"d":"text"}"#;
        assert_eq!(found(json, &["/x", "/a/b", "/a/b/c", "/c/1", "/c/-", "/c/00", "/d/0"]), vec![None; 7]);
        assert_eq!(found("\u{feff}7", &["/a", ""]), [None, Some("7".into())]);
        assert_eq!(found(r#"{"a":1,"a":2}"#, &["/a", "/a"]), vec![Some("2".to_owned()); 2], "the last one");
    }

    #[test]
    fn a_text_has_its_escapes_resolved_and_a_number_its_digits() {
        let text = |json: &str| json_in(json.as_bytes()).ok().and_then(scalar).map(Cow::into_owned);
        assert_eq!(text(r#""a\u00e9""#), Some("aé".into()));
        assert_eq!(text("12345678901234567890.10"), Some("12345678901234567890.10".into()));
        assert_eq!([text("{}"), text("[]"), text("null"), text("tru")], [const { None }; 4]);
    }
}
