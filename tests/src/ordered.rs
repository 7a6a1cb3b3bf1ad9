//! The keys of a JSON object in the order in which they were sent.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// An object's fields in their order, values as text.
pub struct Ordered(pub Vec<(String, Box<RawValue>)>);

impl Ordered {
    /// # Panics
    /// Where `text` is no JSON object.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    pub fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(key, _)| key.as_str()).collect()
    }

    /// The text of a field.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(key, _)| key == name);
        field.unwrap_or_else(|| panic!("no {name} in {:?}", self.keys())).1.get()
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Ordered;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Ordered(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}
