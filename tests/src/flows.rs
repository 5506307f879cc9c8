//! Flows: what they mean, and that no death, lost answer or repetition changes it.

mod crashes;
mod replays;
mod semantics;
