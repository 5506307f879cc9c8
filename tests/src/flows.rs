//! Flows: what they mean, and that no death, lost answer or repetition changes it.

mod crashes;
mod hubs;
mod judged_once;
mod misfits;
mod parts;
mod replays;
mod semantics;
mod snapshots;
