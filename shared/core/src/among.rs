//! Whether some of many texts lie between two bounds.
//!
//! Sixteen bytes are kept of each text: those after what all of them begin with. So an answer may be "perhaps" for bounds that differ
//! from a text only further on; it is never "no" where a text lies between them.

/// Texts that are gathered.
#[derive(Debug, Default)]
pub struct Texts {
    /// What all texts begin with; `None` without a text.
    common: Option<Vec<u8>>,
    /// Of each text what follows, as a number that compares as it does.
    rests: Vec<u128>,
}

/// Texts that can be asked for.
#[derive(Debug)]
pub struct SortedTexts {
    common: Option<Vec<u8>>,
    rests: Vec<u128>,
}

/// Where a bound lies.
enum Place {
    BeforeAll,
    Among(u128),
    AfterAll,
}

impl Texts {
    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        let text = text.as_bytes();
        let common = self.common.get_or_insert_with(|| text.to_vec());
        let shared = common.iter().zip(text).take_while(|(of_all, own)| of_all == own).count();
        if shared < common.len() {
            // What all have begun with so far is no longer common from there on.
            let longer = &common[shared..];
            let kept = rest(longer);
            let shift = u32::try_from(longer.len()).unwrap_or(u32::MAX).saturating_mul(8);
            for rest in &mut self.rests {
                *rest = kept | rest.checked_shr(shift).unwrap_or(0);
            }
            common.truncate(shared);
        }
        self.rests.push(rest(&text[shared..]));
    }

    /// Ends the gathering.
    #[must_use]
    pub fn sorted(self) -> SortedTexts {
        let Self { common, mut rests } = self;
        rests.sort_unstable();
        rests.dedup();
        SortedTexts { common, rests }
    }
}

impl SortedTexts {
    /// Whether a text may be at or after the first bound, and at or before the second.
    #[must_use]
    pub fn may_lie_between(&self, min: &str, max: &str) -> bool {
        let first = match self.place(min) {
            Place::BeforeAll => 0,
            Place::Among(rest) => self.rests.partition_point(|own| *own < rest),
            Place::AfterAll => return false,
        };
        let after = match self.place(max) {
            Place::BeforeAll => return false,
            Place::Among(rest) => self.rests.partition_point(|own| *own <= rest),
            Place::AfterAll => self.rests.len(),
        };
        first < after
    }

    fn place(&self, bound: &str) -> Place {
        let (bound, Some(common)) = (bound.as_bytes(), &self.common) else { return Place::AfterAll };
        match bound.strip_prefix(common.as_slice()) {
            Some(after) => Place::Among(rest(after)),
            None if bound < common.as_slice() => Place::BeforeAll,
            None => Place::AfterAll,
        }
    }
}

/// The first bytes as a number; less than sixteen are followed by zeros.
fn rest(bytes: &[u8]) -> u128 {
    let mut first = [0; 16];
    let length = bytes.len().min(first.len());
    first[..length].copy_from_slice(&bytes[..length]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sorted<'a>(texts: impl IntoIterator<Item = &'a String>) -> SortedTexts {
        let mut gathered = Texts::default();
        texts.into_iter().for_each(|text| gathered.add(text));
        gathered.sorted()
    }

    #[test]
    fn without_texts_none_lies_anywhere() {
        assert!(!sorted([]).may_lie_between("", "\u{10ffff}"));
    }

    #[test]
    fn what_all_begin_with_takes_nothing_from_the_answer() {
        let text = |number: u32| format!("urn:company:region:orders:{number:08}");
        let (low, high): (Vec<_>, Vec<_>) = ((0..10).map(text).collect(), (90..99).map(text).collect());
        for texts in [low.iter().chain(&high).collect::<Vec<_>>(), high.iter().chain(&low).collect()] {
            let found = sorted(texts);
            assert!(found.may_lie_between(&text(9), &text(20)) && found.may_lie_between(&text(20), &text(90)));
            assert!(!found.may_lie_between(&text(10), &text(89)) && !found.may_lie_between(&text(100), &text(200)));
            assert!(!found.may_lie_between("", "urn") && !found.may_lie_between("urn:company:x", "v"));
            assert!(found.may_lie_between("", "v"));
        }
    }

    proptest! {
        #[test]
        fn a_text_that_lies_between_is_never_denied(
            texts in prop::collection::vec("(ab){0,9}[abc\u{0}]{0,6}", 0..20),
            mut bounds in prop::array::uniform2("(ab){0,9}[abc\u{0}]{0,6}"),
        ) {
            bounds.sort();
            let [min, max] = bounds;
            let exact: BTreeSet<String> = texts.iter().cloned().collect();
            let found = sorted(&texts).may_lie_between(&min, &max);
            prop_assert!(found || exact.range(min..=max).next().is_none());
        }

        #[test]
        fn of_short_texts_the_answer_is_exact(
            texts in prop::collection::vec("[abc]{1,16}", 0..20),
            mut bounds in prop::array::uniform2("[abc]{1,16}"),
        ) {
            bounds.sort();
            let [min, max] = bounds;
            let exact: BTreeSet<String> = texts.iter().cloned().collect();
            let found = sorted(&texts).may_lie_between(&min, &max);
            prop_assert_eq!(found, exact.range(min..=max).next().is_some());
        }
    }
}
