//! What can be made to go wrong.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// A thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An event is delivered, and then its receiver's link is detached (`amqp:link:detach-forced`).
    Detach,
    /// An event is delivered, and then its receiver's link is detached as by one with a higher owner level (`amqp:link:stolen`).
    Steal,
    /// An event is delivered, and then its receiver's connection is dropped without a word.
    Drop,
    /// A batch is refused (`amqp:internal-error`) and not stored.
    Reject,
    /// A batch is refused because the namespace is busy (`com.microsoft:server-busy`), and not stored.
    Throttle,
    /// A batch is stored and never acknowledged.
    Silence,
    /// A batch is stored, and the connection is dropped in place of an acknowledgement.
    Lose,
    /// A question about a hub or a partition is answered with 503.
    Busy,
    /// A question about a hub or a partition isn't answered.
    Hang,
}

impl Fault {
    /// All of them, with their names in the control interface.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Detach, "detach"),
        (Self::Steal, "steal"),
        (Self::Drop, "drop"),
        (Self::Reject, "reject"),
        (Self::Throttle, "throttle"),
        (Self::Silence, "silence"),
        (Self::Lose, "lose"),
        (Self::Busy, "busy"),
        (Self::Hang, "hang"),
    ];
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = Self::ALL.map(|(_, name)| name).join(", ");
        let found = Self::ALL.into_iter().find(|(_, known)| *known == name);
        found.map(|(fault, _)| fault).ok_or_else(|| format!("no fault `{name}`; there are {names}"))
    }
}

/// The faults of an emulator; none is armed at first.
#[derive(Debug, Default)]
pub struct Faults {
    fuses: [Fuse; Fault::ALL.len()],
    outage: AtomicBool,
}

impl Faults {
    /// Strikes once, at the item of this number from now on; 1 is the next one. Items are what the fault is about: events delivered,
    /// batches sent, questions asked.
    pub fn once(&self, fault: Fault, at: u64) {
        self.fuses[fault as usize].arm(at, 0);
    }

    /// Strikes at each item whose number from now on is a multiple of `count`; 0 disarms.
    pub fn every(&self, fault: Fault, count: u64) {
        self.fuses[fault as usize].arm(count, count);
    }

    /// How often a fault has struck.
    pub fn struck(&self, fault: Fault) -> u64 {
        self.fuses[fault as usize].struck.load(SeqCst)
    }

    /// Disarms all faults and ends an outage.
    pub fn clear(&self) {
        self.fuses.iter().for_each(|fuse| fuse.arm(0, 0));
        self.outage.store(false, SeqCst);
    }

    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        self.fuses[fault as usize].burn()
    }

    pub(crate) fn set_outage(&self, is_out: bool) {
        self.outage.store(is_out, SeqCst);
    }

    pub(crate) fn is_out(&self) -> bool {
        self.outage.load(SeqCst)
    }
}

#[derive(Debug, Default)]
struct Fuse {
    /// Items until it strikes; 0 for never.
    left: AtomicU64,
    /// What `left` is after a strike.
    every: AtomicU64,
    struck: AtomicU64,
}

impl Fuse {
    fn arm(&self, at: u64, every: u64) {
        self.every.store(every, SeqCst);
        self.left.store(at, SeqCst);
    }

    fn burn(&self) -> bool {
        let every = self.every.load(SeqCst);
        let next = |left: u64| match left {
            0 => None,
            1 => Some(every),
            _ => Some(left - 1),
        };
        let struck = self.left.fetch_update(SeqCst, SeqCst, next) == Ok(1);
        self.struck.fetch_add(u64::from(struck), SeqCst);
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_once_or_again_and_again() {
        let faults = Faults::default();
        let strikes = |faults: &Faults| (0..6).map(|_| faults.strikes(Fault::Drop)).collect::<Vec<_>>();
        assert_eq!(strikes(&faults), [false; 6]);
        faults.once(Fault::Drop, 2);
        assert_eq!(strikes(&faults), [false, true, false, false, false, false]);
        faults.every(Fault::Drop, 2);
        assert_eq!(strikes(&faults), [false, true, false, true, false, true]);
        assert_eq!(faults.struck(Fault::Drop), 4);
        faults.clear();
        assert_eq!(strikes(&faults), [false; 6]);
    }

    #[test]
    fn faults_have_names() {
        assert_eq!("lose".parse(), Ok(Fault::Lose));
        assert!("loose".parse::<Fault>().unwrap_err().contains("lose"));
    }
}
