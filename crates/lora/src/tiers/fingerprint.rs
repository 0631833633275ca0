//! What tensors hold, to the bit: that something stayed as it was is compared, not assumed.

use std::collections::BTreeMap;

use limbeck_run::{digest, sha256_bytes};
use tch::{Device, Kind, Tensor};

use crate::Result;

/// The SHA-256 of each tensor by its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Fingerprint {
    hashes: BTreeMap<String, String>,
}

impl Fingerprint {
    /// Reads all tensors.
    pub(super) fn of(tensors: &[(String, Tensor)]) -> Result<Self> {
        let mut fingerprint = Self::default();
        for (name, tensor) in tensors {
            let flat = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1])?;
            let bytes = Vec::<u8>::try_from(&flat.f_view_dtype(Kind::Uint8)?)?;
            fingerprint.add(name.clone(), &bytes);
        }
        Ok(fingerprint)
    }

    /// Adds something that is no tensor.
    pub(super) fn add(&mut self, name: String, bytes: &[u8]) {
        self.hashes.insert(name, sha256_bytes(bytes));
    }

    /// One hash for all.
    pub(super) fn digest(&self) -> String {
        digest(&self.hashes)
    }

    /// The first name whose tensor is another one now.
    pub(super) fn first_difference(&self, now: &Self) -> Option<&str> {
        let mut names = self.hashes.iter();
        names
            .find(|(name, hash)| now.hashes.get(*name) != Some(hash))
            .map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_of_one_tensor_is_seen_and_named() {
        let tensor = |values: [f32; 2]| Tensor::from_slice(&values);
        let of = |second: [f32; 2]| {
            let tensors = [("a".to_owned(), tensor([1.0, 2.0])), ("b".to_owned(), tensor(second))];
            Fingerprint::of(&tensors).unwrap()
        };
        let before = of([0.0, 3.0]);
        assert_eq!(before, of([0.0, 3.0]));
        // Equal as numbers, not as bits.
        let after = of([-0.0, 3.0]);
        assert_eq!(before.first_difference(&after), Some("b"));
        assert_ne!(before.digest(), after.digest());
    }
}
