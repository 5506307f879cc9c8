//! What a seed decides: a list of draws, which can be drawn again, and made smaller.
//!
//! Zero is always the plainest draw: no message comes, a write goes well, the weather is fair. So a list with more zeros, or
//! a shorter one, is a simpler run.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Where draws come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Draws {
    /// A seed.
    Seed(u64),
    /// A list; zeros after its end.
    Given(Vec<usize>),
}

/// Draws, one after another.
#[derive(Debug)]
pub(super) struct Chance {
    source: Source,
    drawn: Vec<usize>,
}

#[derive(Debug)]
enum Source {
    Seed(Box<StdRng>),
    Given(VecDeque<usize>),
}

impl Chance {
    pub(super) fn new(draws: &Draws) -> Self {
        let source = match draws {
            Draws::Seed(seed) => Source::Seed(Box::new(StdRng::seed_from_u64(*seed))),
            Draws::Given(list) => Source::Given(list.iter().copied().collect()),
        };
        Self { source, drawn: Vec::new() }
    }

    /// A number below `below`.
    pub(super) fn draw(&mut self, below: usize) -> usize {
        let drawn = match &mut self.source {
            Source::Seed(seed) => seed.random_range(0..below),
            Source::Given(list) => list.pop_front().unwrap_or_default().min(below - 1),
        };
        self.drawn.push(drawn);
        drawn
    }

    /// All draws so far, but for zeros at the end.
    pub(super) fn drawn(&self) -> Vec<usize> {
        trimmed(self.drawn.clone())
    }
}

fn trimmed(mut draws: Vec<usize>) -> Vec<usize> {
    while draws.last() == Some(&0) {
        draws.pop();
    }
    draws
}

/// A smaller list that still fails, by so many tries: parts of it are left out, or are zeros, or smaller numbers.
pub(super) fn shrunk(draws: Vec<usize>, mut tries: usize, fails: impl Fn(&[usize]) -> bool) -> Vec<usize> {
    let mut smallest = trimmed(draws);
    let mut fails = |smaller: &[usize]| {
        let is_left = tries > 0;
        tries = tries.saturating_sub(1);
        is_left && fails(smaller)
    };
    let mut length = smallest.len().div_ceil(2);
    while length > 0 {
        let mut end = smallest.len();
        while end > 0 {
            let start = end.saturating_sub(length);
            let smaller = without(&smallest, start, end).find(|smaller| fails(smaller));
            smallest = smaller.unwrap_or(smallest);
            end = start.min(smallest.len());
        }
        length /= 2;
    }
    smallest
}

/// The list without a part of it, with zeros for it, and with half of its only number.
fn without(draws: &[usize], start: usize, end: usize) -> impl Iterator<Item = Vec<usize>> {
    let removed = [&draws[..start], &draws[end..]].concat();
    let mut zeros = draws.to_vec();
    zeros[start..end].fill(0);
    let mut halved = draws.to_vec();
    if end - start == 1 {
        halved[start] /= 2;
    }
    let before = draws.to_vec();
    [removed, zeros, halved].into_iter().map(trimmed).filter(move |smaller| *smaller != before)
}

#[test]
fn what_does_not_matter_is_shrunk_away() {
    let matters = |draws: &[usize]| draws.contains(&7) && draws.iter().filter(|draw| **draw > 2).count() > 1;
    let mut chance = Chance::new(&Draws::Seed(1));
    let draws: Vec<usize> = (0..300).map(|_| chance.draw(9)).collect();
    assert!(matters(&draws));
    let smallest = shrunk(draws, 2_000, matters);
    assert!(smallest.len() == 2 && matters(&smallest), "{smallest:?}");
}

#[test]
fn draws_are_drawn_again() {
    let mut chance = Chance::new(&Draws::Seed(4));
    let first: Vec<usize> = (2..60).map(|below| chance.draw(below)).collect();
    let mut again = Chance::new(&Draws::Given(chance.drawn()));
    assert_eq!(first, (2..60).map(|below| again.draw(below)).collect::<Vec<_>>());
    assert_eq!(again.draw(5), 0);
}
