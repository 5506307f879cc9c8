//! Many keys in little memory.

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Encoded keys, one after the other in memory. All keys of a table may be looked for, so the hash is a quick one, and seeded, since senders
/// choose keys.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<u8>,
    places: HashTable<Place>,
    hashes: RandomState,
}

/// Where a key is.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    length: usize,
}

impl KeySet {
    /// Adds a key; whether it wasn't there yet.
    pub(super) fn insert(&mut self, key: &[u8]) -> bool {
        let Self { keys, places, hashes } = self;
        let place = Place { start: keys.len(), length: key.len() };
        let hash = hashes.hash_one(key);
        match places.entry(hash, |own| own.of(keys) == key, |own| hashes.hash_one(own.of(keys))) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(place);
                keys.extend_from_slice(key);
                true
            }
        }
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.places.find(self.hashes.hash_one(key), |own| own.of(&self.keys) == key).is_some()
    }

    /// Adds the keys of another set.
    pub(super) fn extend(&mut self, others: &Self) {
        for place in &others.places {
            self.insert(place.of(&others.keys));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Place {
    fn of(self, keys: &[u8]) -> &[u8] {
        &keys[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_in_it_once_whatever_their_lengths() {
        let (mut set, mut exact) = (KeySet::default(), HashSet::new());
        for number in (0_u32..4_000).chain(2_000..5_000) {
            let key = number.to_string().repeat(number as usize % 4);
            assert_eq!(set.insert(key.as_bytes()), exact.insert(key));
        }
        assert_eq!(set.len(), exact.len());
        assert!(exact.iter().all(|key| set.contains(key.as_bytes())) && !set.contains(b"5000"));
        let mut both = KeySet::default();
        both.insert(b"5000");
        both.extend(&set);
        assert_eq!(both.len(), exact.len() + 1);
    }
}
