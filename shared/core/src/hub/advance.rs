//! From one sequence number to the next.

use serde::{Deserialize, Serialize};

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The oldest sequence number that can be read.
    pub beginning: i64,
    /// The last sequence number that was given; below `beginning` if the partition holds nothing.
    pub last: i64,
}

/// Sequence numbers that retention took before they were read; both ends are among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The first.
    pub from: i64,
    /// The last.
    pub to: i64,
}

/// What is to be done with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum PartitionPlan {
    /// All is committed.
    UpToDate,
    /// Read what comes after a number, or from the beginning, up to what was there when it was asked.
    Read {
        /// The number before the first that is read; `None` for the beginning.
        after: Option<i64>,
        /// The last number to be read.
        through: i64,
        /// What can't be read any more.
        lost: Option<Lost>,
    },
    /// More is committed than the partition ever held: it isn't the one that was read before.
    Recreated {
        /// The last number that it has given.
        last: i64,
    },
}

/// Decides what to read of a partition of which everything up to a number is committed.
pub fn plan_partition(committed: Option<i64>, extent: Extent) -> PartitionPlan {
    let Extent { beginning, last } = extent;
    if committed.is_some_and(|committed| committed > last) {
        return PartitionPlan::Recreated { last };
    }
    if committed == Some(last) || last < beginning {
        return PartitionPlan::UpToDate;
    }
    let lost = committed.and_then(|committed| lost(committed, beginning));
    let after = lost.map_or(committed, |lost| Some(lost.to));
    PartitionPlan::Read { after, through: last, lost }
}

fn lost(last: i64, beginning: i64) -> Option<Lost> {
    (beginning - 1 > last).then_some(Lost { from: last + 1, to: beginning - 1 })
}

/// How far a partition has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    last: Option<i64>,
    through: i64,
    lost: Vec<Lost>,
}

/// What an event means for an [`Advance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// It is the next one.
    Take,
    /// It was taken before, or is committed: the client has gone back.
    Seen,
    /// It is none that was asked for: it came after the partition was asked. It will be read next time.
    Beyond,
    /// Events between the last one and this are missing. Ask what the partition holds: see [`Advance::lose`].
    Hole,
}

impl Advance {
    /// At the start of what a plan says.
    #[must_use]
    pub fn new(after: Option<i64>, through: i64, lost: Option<Lost>) -> Self {
        Self { last: after, through, lost: lost.into_iter().collect() }
    }

    /// Judges the next event that has come; one to be taken counts as read.
    pub fn step(&mut self, sequence: i64) -> Step {
        match self.last {
            Some(last) if sequence <= last => Step::Seen,
            _ if sequence > self.through => Step::Beyond,
            Some(last) if sequence != last + 1 => Step::Hole,
            Some(_) | None => {
                self.last = Some(sequence);
                Step::Take
            }
        }
    }

    /// Notes that the partition begins here now: what was not read before is lost. Whether anything is; where nothing is, a hole is
    /// the client's, and what is missing can be read.
    pub fn lose(&mut self, beginning: i64) -> bool {
        let lost = self.last.and_then(|last| lost(last, beginning));
        if let Some(lost) = lost {
            self.last = Some(lost.to);
            self.lost.push(lost);
        }
        lost.is_some()
    }

    /// The last number that was read or is lost; `None` before the first event of a partition.
    #[must_use]
    pub const fn last(&self) -> Option<i64> {
        self.last
    }

    /// What retention took.
    #[must_use]
    pub fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// Whether all is read that was asked for.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.last.is_some_and(|last| last >= self.through)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn extent(beginning: i64, last: i64) -> Extent {
        Extent { beginning, last }
    }

    #[test]
    fn a_partition_is_read_from_what_is_committed_to_what_is_there() {
        let read = |after, through, lost| PartitionPlan::Read { after, through, lost };
        assert_eq!(plan_partition(None, extent(0, 9)), read(None, 9, None));
        assert_eq!(plan_partition(None, extent(5, 9)), read(None, 9, None));
        assert_eq!(plan_partition(Some(4), extent(0, 9)), read(Some(4), 9, None));
        assert_eq!(plan_partition(Some(4), extent(5, 9)), read(Some(4), 9, None));
        assert_eq!(plan_partition(Some(4), extent(8, 9)), read(Some(7), 9, Some(Lost { from: 5, to: 7 })));
    }

    #[test]
    fn what_is_committed_or_empty_is_left_alone() {
        assert_eq!(plan_partition(Some(9), extent(0, 9)), PartitionPlan::UpToDate);
        assert_eq!(plan_partition(Some(9), extent(10, 9)), PartitionPlan::UpToDate);
        assert_eq!(plan_partition(None, extent(0, -1)), PartitionPlan::UpToDate);
        assert_eq!(plan_partition(Some(4), extent(10, 9)), PartitionPlan::UpToDate);
    }

    #[test]
    fn a_partition_that_holds_less_than_is_committed_is_another_one() {
        assert_eq!(plan_partition(Some(9), extent(0, 3)), PartitionPlan::Recreated { last: 3 });
        assert_eq!(plan_partition(Some(0), extent(0, -1)), PartitionPlan::Recreated { last: -1 });
    }

    #[test]
    fn a_hole_is_lost_only_if_the_partition_begins_after_it() {
        let mut advance = Advance::new(Some(4), 9, None);
        assert_eq!((advance.step(5), advance.step(8)), (Step::Take, Step::Hole));
        assert!(!advance.lose(0));
        assert_eq!(advance.step(6), Step::Take);
        assert!(advance.lose(9));
        assert_eq!((advance.step(9), advance.is_done()), (Step::Take, true));
        assert_eq!(advance.lost(), [Lost { from: 7, to: 8 }]);
        assert_eq!(advance.step(10), Step::Beyond);
    }

    proptest! {
        #[test]
        fn each_number_is_taken_once_and_in_order_whatever_comes(
            after in prop::option::of(-1_i64..20), arrivals in prop::collection::vec(0_i64..40, 0..200), through in 0_i64..40,
        ) {
            let mut advance = Advance::new(after, through, None);
            let mut taken = Vec::new();
            for sequence in arrivals {
                if advance.step(sequence) == Step::Take {
                    taken.push(sequence);
                }
            }
            prop_assert!(taken.windows(2).all(|pair| pair[1] == pair[0] + 1));
            prop_assert!(taken.iter().all(|sequence| *sequence <= through));
            if let (Some(after), Some(first)) = (after, taken.first()) {
                prop_assert_eq!(*first, after + 1);
            }
        }
    }
}
