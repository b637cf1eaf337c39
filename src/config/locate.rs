//! Where in the text a key stands.
//!
//! Lives here: [`locate`]. The YAML reader gives line and column for what it refuses itself, but not for a value that is
//! well-formed and makes no sense; so it is asked to read once more and to refuse exactly that value. Not here: anything
//! about what keys mean.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Line and column, from 1, of the value at a path such as `listeners[0].mode`; if the path does not go that far, of the
/// last part of it that is there.
pub(super) fn locate(text: &str, path: &str) -> Option<(usize, usize)> {
    let steps: Vec<&str> = path.split(['.', '[', ']']).filter(|step| !step.is_empty()).collect();
    let refused = Probe(&steps).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    let location = refused.location()?;
    Some((location.line(), location.column()))
}

/// Follows the steps and fails at their end; never succeeds.
struct Probe<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what is not there: this is how the place is found")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        while let Some(key) = map.next_key::<String>()? {
            if key == *step {
                return map.next_value_seed(Probe(rest));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Err(A::Error::custom("here"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..step.parse().unwrap_or(0usize) {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        seq.next_element_seed(Probe(rest))?;
        Err(A::Error::custom("here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "listeners:\n  - name: a\n    listen: [ \"x\", y ]\n  - { name: b, mode: z }\nlimits: {}\n";

    #[test]
    fn finds_scalars_in_block_and_flow_form() {
        assert_eq!(locate(TEXT, "listeners[0].name"), Some((2, 11)));
        assert_eq!(locate(TEXT, "listeners[0].listen[1]"), Some((3, 20)));
        assert_eq!(locate(TEXT, "listeners[1].mode"), Some((4, 22)));
    }

    #[test]
    fn stops_at_the_last_part_that_is_there() {
        assert_eq!(locate(TEXT, "listeners[1].server"), Some((4, 5)));
        assert_eq!(locate(TEXT, "listeners[0].name[0]"), Some((2, 11)));
        assert_eq!(locate(TEXT, "listeners[7].name"), Some((2, 3)));
        assert_eq!(locate(TEXT, "limits.sessions"), Some((5, 9)));
    }
}
