//! How long a writer waits before it tries its commit again.
//!
//! Who loses a race waits first, then reads the winners, and puts its own version at once: what was read last is the
//! least likely to be outrun. So that a writer that has lost often isn't outrun for ever by those that come fresh, its waits
//! get shorter with each try.

use std::time::Duration;

/// Why a try ended without a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// Another commit has the version.
    Lost {
        /// How long putting it took: what others need for theirs.
        took: Duration,
    },
    /// Storage refused, or didn't answer.
    Failed,
}

/// How long to wait after a try, the first of which is 1: with full jitter from a seed, so that writers who lost together don't
/// come back together.
///
/// After a race up to four times what putting a version took, divided by the tries so far; after a failure up to a
/// time that doubles, two seconds at most.
#[must_use]
pub fn next_delay(setback: Setback, tries: u32, seed: u64) -> Duration {
    let ceiling = match setback {
        Setback::Lost { took } => (took * 4).clamp(SHORTEST_RACE, LONGEST_RACE) / tries.max(1),
        Setback::Failed => (FIRST_FAILURE * (1 << tries.min(10))).min(LONGEST_FAILURE),
    };
    let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(1 + mix(seed ^ u64::from(tries).rotate_left(32)) % micros)
}

const SHORTEST_RACE: Duration = Duration::from_millis(4);
const LONGEST_RACE: Duration = Duration::from_millis(400);
const FIRST_FAILURE: Duration = Duration::from_millis(20);
const LONGEST_FAILURE: Duration = Duration::from_secs(2);

/// SplitMix64's output function.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use proptest::prelude::*;

    use super::*;

    /// Milliseconds that S3 takes for each step of a writer.
    const LIST: u64 = 30;
    const WORK: u64 = 90;
    const PUT: u64 = 60;
    const READ_TWO: u64 = 20;

    /// What a writer does when its time comes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Step {
        Begin,
        Listed,
        Put,
        Read,
    }

    /// What became of one writer's commits.
    #[derive(Debug, Clone, Default)]
    struct Fate {
        /// Milliseconds of each.
        took: Vec<u64>,
        tries: Vec<u32>,
    }

    #[derive(Debug, Clone, Default)]
    struct Writer {
        begun: u64,
        tries: u32,
        next: u64,
        commits: u64,
        fate: Fate,
    }

    /// Writers that do nothing but commit to one log for so many milliseconds, as `lake::commit` does it.
    struct Log {
        version: u64,
        writers: Vec<Writer>,
        steps: BinaryHeap<Reverse<(u64, usize, Step)>>,
        chance: u64,
    }

    impl Log {
        fn run(writers: usize, seed: u64, until: u64) -> Vec<Fate> {
            let steps = (0..writers).map(|writer| Reverse((writer as u64 * 7, writer, Step::Begin))).collect();
            let mut log = Self { version: 0, writers: vec![Writer::default(); writers], steps, chance: seed };
            while let Some(Reverse((now, writer, step))) = log.steps.pop()
                && now < until
            {
                log.step(now, writer, step);
            }
            log.writers.into_iter().map(|writer| writer.fate).collect()
        }

        fn step(&mut self, now: u64, at: usize, step: Step) {
            let (version, seed) = (self.version, mix(self.chance ^ at as u64));
            let writer = &mut self.writers[at];
            let (next, after) = match step {
                Step::Begin => {
                    (writer.begun, writer.tries) = (now, 0);
                    (Step::Listed, LIST)
                }
                Step::Listed => {
                    writer.next = version + 1;
                    (Step::Put, WORK + PUT)
                }
                Step::Put if writer.next == version + 1 => {
                    self.version += 1;
                    writer.commits += 1;
                    writer.fate.took.push(now - writer.begun);
                    writer.fate.tries.push(writer.tries + 1);
                    (Step::Begin, 0)
                }
                Step::Put => {
                    writer.tries += 1;
                    let lost = Setback::Lost { took: Duration::from_millis(PUT) };
                    let wait = next_delay(lost, writer.tries, mix(seed ^ writer.commits));
                    (Step::Read, u64::try_from(wait.as_millis()).unwrap() + READ_TWO)
                }
                Step::Read => {
                    let seen = (version + 1 - writer.next).min(2);
                    writer.next += seen;
                    if seen == 2 { (Step::Read, READ_TWO) } else { (Step::Put, PUT) }
                }
            };
            self.chance = mix(self.chance);
            // Nothing takes the same time twice.
            let after = after * (80 + self.chance % 41) / 100;
            self.steps.push(Reverse((now + after, at, next)));
        }
    }

    fn percentile(mut values: Vec<u64>, percent: usize) -> u64 {
        values.sort_unstable();
        values[(values.len() * percent / 100).min(values.len() - 1)]
    }

    /// Sixteen writers of one table are the most that the templates allow.
    #[test]
    fn writers_that_do_nothing_but_commit_share_the_log_fairly() {
        for (writers, per_second, slow) in [(2, 5, 1_000), (4, 7, 1_200), (8, 9, 2_000), (16, 11, 4_000)] {
            for seed in 0..5 {
                let fates = Log::run(writers, seed, 120_000);
                let commits: Vec<u64> = fates.iter().map(|fate| fate.took.len() as u64).collect();
                let (sum, fewest) = (commits.iter().sum::<u64>(), *commits.iter().min().unwrap());
                let took: Vec<u64> = fates.iter().flat_map(|fate| fate.took.clone()).collect();
                let tries = fates.iter().flat_map(|fate| &fate.tries).max().unwrap();
                let seen = (writers, seed, sum, fewest, percentile(took.clone(), 95), took.iter().max(), tries);
                assert!(sum >= per_second * 120, "{seen:?}");
                assert!(fewest * 2 >= sum / writers as u64, "{seen:?}");
                assert!(percentile(took.clone(), 95) < slow, "{seen:?}");
                assert!(*took.iter().max().unwrap() < 4 * slow, "{seen:?}");
            }
        }
    }

    #[test]
    fn who_has_lost_often_waits_less_and_who_is_refused_waits_longer() {
        let lost = Setback::Lost { took: Duration::from_millis(60) };
        let mean = |setback, tries| {
            (0..1_000).map(|seed| next_delay(setback, tries, seed)).sum::<Duration>().as_millis() / 1_000
        };
        assert!((110..=130).contains(&mean(lost, 1)), "{}", mean(lost, 1));
        assert!(mean(lost, 10) <= 13);
        assert!(mean(Setback::Failed, 1) <= 22);
        assert!(mean(Setback::Failed, 10) >= 900);
    }

    proptest! {
        #[test]
        fn a_delay_is_positive_bounded_and_the_same_for_a_seed(tries: u32, seed: u64, took in 0_u64..100_000) {
            for setback in [Setback::Failed, Setback::Lost { took: Duration::from_millis(took) }] {
                let delay = next_delay(setback, tries, seed);
                prop_assert!(delay > Duration::ZERO && delay <= Duration::from_secs(2));
                prop_assert_eq!(delay, next_delay(setback, tries, seed));
            }
        }
    }
}
