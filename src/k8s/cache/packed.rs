//! Objects as compressed JSON. Objects of a kind resemble each other, so each is compressed against samples: the first
//! objects of the kind. What remains of an object is mostly its uids.

use std::sync::Arc;

use lz4_flex::block::{compress_with_dict, decompress_with_dict};
use serde::{Serialize, de::DeserializeOwned};

/// How many bytes of samples are kept. More samples make packing slower and objects hardly smaller.
const SAMPLES: usize = 8 << 10;

/// A packed object.
#[derive(Debug)]
pub(super) struct Packed {
    samples: Arc<[u8]>,
    bytes: Box<[u8]>,
    length: usize,
}

impl Packed {
    /// The object; the error says why the bytes cannot be read, without their content.
    pub(super) fn unpack<K: DeserializeOwned>(&self) -> Result<K, String> {
        let json = decompress_with_dict(&self.bytes, self.length, &self.samples)
            .map_err(|error| error.to_string())?;
        serde_json::from_slice(&json).map_err(|error| format!("{:?}", error.classify()))
    }
}

/// Packs objects of a kind.
#[derive(Debug)]
pub(super) struct Packer {
    samples: Arc<[u8]>,
}

impl Default for Packer {
    fn default() -> Self {
        Self { samples: Arc::new([]) }
    }
}

impl Packer {
    pub(super) fn pack<K: Serialize>(&mut self, object: &K) -> serde_json::Result<Packed> {
        let json = serde_json::to_vec(object)?;
        let bytes = compress_with_dict(&json, &self.samples).into_boxed_slice();
        let packed = Packed { samples: self.samples.clone(), bytes, length: json.len() };
        if self.samples.len() + json.len() <= SAMPLES {
            self.samples = [&*self.samples, &json].concat().into();
        }
        Ok(packed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn objects_that_resemble_the_first_ones_become_small() {
        let mut packer = Packer::default();
        let ca = (0..600_u32)
            .map(|number| char::from(b'a' + u8::try_from(number * number % 23).unwrap()))
            .collect::<String>();
        let object = |number: u32| json!({"name": format!("binding-{number}"), "broker": {"ca": ca, "url": "https://b"}});
        let sizes: Vec<usize> =
            (0..100).map(|number| packer.pack(&object(number)).unwrap().bytes.len()).collect();
        assert!(sizes[99] * 4 < sizes[0], "{sizes:?}");
        assert!(packer.samples.len() <= SAMPLES);
    }

    #[test]
    fn damaged_bytes_are_an_error_that_does_not_show_them() {
        let mut packer = Packer::default();
        let mut packed = packer.pack(&json!({"password": "canary"})).unwrap();
        packed.bytes = packed.bytes[..4].into();
        let error = packed.unpack::<Value>().unwrap_err();
        assert!(!error.contains("canary"), "{error}");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<Option<bool>>().prop_map(|it| json!(it)),
            any::<i64>().prop_map(|it| json!(it)),
            any::<f64>().prop_map(|it| json!(it)),
            ".*".prop_map(|it| json!(it)),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..5).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_unpacked_is_what_was_packed(values in prop::collection::vec(value(), 1..6)) {
            let mut packer = Packer::default();
            for value in values {
                let packed = packer.pack(&value).unwrap();
                prop_assert_eq!(packed.unpack::<Value>().unwrap(), value);
            }
        }
    }
}
