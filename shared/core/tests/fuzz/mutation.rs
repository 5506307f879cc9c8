//! Texts that are nearly right: those of a corpus, damaged here and there.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

/// One damage.
#[derive(Debug, Clone)]
enum Damage {
    /// A byte is another one.
    Byte(Index, u8),
    /// All after a place is gone.
    Cut(Index),
    /// A part is gone.
    Without(Index, Index),
    /// A part is there many times.
    Repeat(Index, Index, usize),
    /// Something that means something to the reader stands there too.
    Insert(Index, Index),
    /// It goes on as another text does.
    Splice(Index, Index, Index),
}

impl Damage {
    fn done_to(&self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
        let at = |index: &Index, length: usize| index.index(length + 1);
        let range = |a: &Index, b: &Index, length: usize| {
            let (a, b) = (at(a, length), at(b, length));
            a.min(b)..a.max(b)
        };
        match self {
            Self::Byte(place, byte) if !bytes.is_empty() => {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            Self::Byte(_, byte) => bytes.push(*byte),
            Self::Cut(place) => bytes.truncate(at(place, bytes.len())),
            Self::Without(a, b) => drop(bytes.drain(range(a, b, bytes.len()))),
            Self::Repeat(a, b, times) => {
                let part = bytes[range(a, b, bytes.len().min(64))].repeat(*times);
                let place = at(a, bytes.len());
                bytes.splice(place..place, part);
            }
            Self::Insert(place, word) => {
                let place = at(place, bytes.len());
                bytes.splice(place..place, words[word.index(words.len())].bytes());
            }
            Self::Splice(place, other, from) => {
                bytes.truncate(at(place, bytes.len()));
                let other = &corpus[other.index(corpus.len())];
                bytes.extend_from_slice(&other[at(from, other.len())..]);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        place().prop_map(Damage::Cut),
        (place(), place()).prop_map(|(a, b)| Damage::Without(a, b)),
        (place(), place(), 1..300_usize).prop_map(|(a, b, times)| Damage::Repeat(a, b, times)),
        (place(), place()).prop_map(|(at, word)| Damage::Insert(at, word)),
        (place(), place(), place()).prop_map(|(at, other, from)| Damage::Splice(at, other, from)),
    ]
}

/// Hands damaged texts to a check that panics where something is wrong: so many, or for as long as `HEADWATER_FUZZ_SECONDS`
/// says, and the same ones each time where `HEADWATER_FUZZ_SEED` is a number. A text that fails is shrunk to few damages and
/// printed.
#[allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test may be told how long it goes on, and tells what it has done"
)]
pub(crate) fn fuzz(corpus: Vec<Vec<u8>>, words: &'static [&'static str], cases: u32, check: impl Fn(&[u8])) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let (seconds, mut seed) = (number("HEADWATER_FUZZ_SECONDS"), number("HEADWATER_FUZZ_SEED"));
    let began = Instant::now();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let (texts, mut tried) = (damaged(corpus, words), 0);
    loop {
        let mut runner = match seed {
            Some(seed) => TestRunner::new_with_rng(config.clone(), seeded(seed)),
            None => TestRunner::new(config.clone()),
        };
        seed = seed.map(|seed| seed + 1);
        let ended = runner.run(&texts, |bytes| {
            check(&bytes);
            Ok(())
        });
        match ended {
            Ok(()) => tried += cases,
            Err(TestError::Fail(why, bytes)) => {
                panic!("{why}\nfor {:?}\nor {bytes:?}", String::from_utf8_lossy(&bytes))
            }
            Err(TestError::Abort(why)) => panic!("{why}"),
        }
        if seconds.is_none_or(|seconds| began.elapsed() > Duration::from_secs(seconds)) {
            eprintln!("{tried} texts in {:?}", began.elapsed());
            return;
        }
    }
}

fn seeded(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// A text of a corpus with one to five damages; `words` are what its reader knows.
fn damaged(corpus: Vec<Vec<u8>>, words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    (any::<Index>(), prop::collection::vec(damage(), 1..6)).prop_map(move |(which, damages)| {
        let mut bytes = corpus[which.index(corpus.len())].clone();
        damages.iter().for_each(|damage| damage.done_to(&mut bytes, &corpus, words));
        bytes
    })
}
