//! Many keys in little memory.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Encoded keys, one after the other in memory, with numbers in the order in which they came. All keys of a table may be looked for, so the
/// hash is a quick one, and seeded, since senders choose keys.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<u8>,
    /// Where each key ends.
    ends: Vec<usize>,
    numbers: HashTable<Tagged>,
    hashes: RandomState,
}

/// A key's number, and a part of its hash: few others are compared with it, and none is hashed again.
#[derive(Debug, Clone, Copy)]
struct Tagged {
    tag: u32,
    number: usize,
}

/// Keys, of which some are marked. Cheap to make of a set.
#[derive(Debug, Default)]
pub(super) struct Marked {
    keys: Arc<KeySet>,
    marks: Vec<bool>,
    count: usize,
}

impl KeySet {
    /// Adds a key; whether it wasn't there yet.
    pub(super) fn insert(&mut self, key: &[u8]) -> bool {
        let tag = self.tag(key);
        let Self { keys, ends, numbers, .. } = self;
        let is_same = |own: &Tagged| own.tag == tag && key_of(keys, ends, own.number) == key;
        match numbers.entry(spread(tag), is_same, |own| spread(own.tag)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(Tagged { tag, number: ends.len() });
                keys.extend_from_slice(key);
                ends.push(keys.len());
                true
            }
        }
    }

    pub(super) fn number(&self, key: &[u8]) -> Option<usize> {
        let tag = self.tag(key);
        let is_same = |own: &Tagged| own.tag == tag && key_of(&self.keys, &self.ends, own.number) == key;
        self.numbers.find(spread(tag), is_same).map(|own| own.number)
    }

    /// The same, which is found at once if it is `expected`.
    pub(super) fn number_expected(&self, expected: usize, key: &[u8]) -> Option<usize> {
        let is_expected = expected < self.len() && key_of(&self.keys, &self.ends, expected) == key;
        if is_expected { Some(expected) } else { self.number(key) }
    }

    /// All keys, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|number| key_of(&self.keys, &self.ends, number))
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all keys together.
    pub(super) fn size(&self) -> usize {
        self.keys.len()
    }

    fn tag(&self, key: &[u8]) -> u32 {
        (self.hashes.hash_one(key) >> u32::BITS) as u32
    }
}

impl Marked {
    /// None is marked yet.
    pub(super) fn none_of(keys: Arc<KeySet>) -> Self {
        Self { marks: vec![false; keys.len()], count: 0, keys }
    }

    /// Marks a key by its number; whether it wasn't yet.
    pub(super) fn mark(&mut self, number: usize) -> bool {
        let is_new = !std::mem::replace(&mut self.marks[number], true);
        self.count += usize::from(is_new);
        is_new
    }

    pub(super) fn number_expected(&self, expected: usize, key: &[u8]) -> Option<usize> {
        self.keys.number_expected(expected, key)
    }

    /// Whether a key is among the marked ones.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.keys.number(key).is_some_and(|number| self.marks[number])
    }

    /// How many aren't marked.
    pub(super) const fn unmarked(&self) -> usize {
        self.marks.len() - self.count
    }

    pub(super) const fn are_all(&self) -> bool {
        self.unmarked() == 0
    }
}

fn key_of<'a>(keys: &'a [u8], ends: &[usize], number: usize) -> &'a [u8] {
    let start = number.checked_sub(1).map_or(0, |before| ends[before]);
    &keys[start..ends[number]]
}

/// Spreads the bits of a tag over those by which a table finds its places.
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_in_it_once_whatever_their_lengths() {
        let (mut set, mut exact) = (KeySet::default(), HashSet::new());
        let mut in_order = Vec::new();
        for number in (0_u32..4_000).chain(2_000..5_000) {
            let key = number.to_string().repeat(number as usize % 4);
            assert_eq!(set.insert(key.as_bytes()), exact.insert(key.clone()));
            if in_order.last() != Some(&key) && in_order.len() < exact.len() {
                in_order.push(key);
            }
        }
        assert_eq!((set.len(), in_order.len()), (exact.len(), exact.len()));
        assert!(set.iter().eq(in_order.iter().map(String::as_bytes)));
        let numbers = in_order.iter().map(|key| set.number(key.as_bytes()));
        assert!(numbers.eq((0..exact.len()).map(Some)));
        assert_eq!(set.number(b"5000"), None);
        let last = in_order.len() - 1;
        let expecting = |expected| set.number_expected(expected, in_order[last].as_bytes());
        assert!([0, last, last + 1].map(expecting).iter().all(|found| *found == Some(last)));
        assert_eq!(set.number_expected(last, b"5000"), None);
    }

    #[test]
    fn marks_are_of_the_keys_of_their_numbers() {
        let mut set = KeySet::default();
        assert!(Marked::none_of(Arc::default()).are_all());
        for key in ["a", "", "b"] {
            set.insert(key.as_bytes());
        }
        let mut marked = Marked::none_of(Arc::new(set));
        assert_eq!((marked.mark(2), marked.mark(2), marked.mark(1)), (true, false, true));
        let of = |marked: &Marked| ["a", "", "b", "c"].map(|key| marked.contains(key.as_bytes()));
        assert_eq!((of(&marked), marked.unmarked(), marked.are_all()), ([false, true, true, false], 1, false));
        marked.mark(0);
        assert!(marked.are_all());
    }
}
