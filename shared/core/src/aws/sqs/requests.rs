//! Requests with several entries: what fits into one, and what becomes of the entries that failed.
//!
//! A request may succeed and some of its entries fail. Those are sent again, with growing waits, unless the service
//! says that they never will do.

use std::borrow::Cow;
use std::time::Duration;

use crate::batch::Limits;

/// Entries of a request that has several, and messages of an answer, at most.
pub const ENTRIES: usize = 10;
/// What a request to send takes: all bodies and attributes together.
pub const SEND: Limits = Limits { items: ENTRIES, bytes: 1 << 20 };
/// The same for services that haven't raised the limit, as SQS did in 2025.
pub const SEND_SMALL: Limits = Limits { items: ENTRIES, bytes: 256 << 10 };

/// How often entries that failed are sent at most.
const ATTEMPTS: u32 = 7;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// An entry that failed, in a request that didn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFailure {
    /// Its place in the request.
    pub index: usize,
    /// The service's code for why.
    pub code: String,
    /// Whether the service holds it against the caller.
    pub is_senders: bool,
}

/// What becomes of entries that failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Places of those that may do the next time.
    pub again: Vec<usize>,
    /// Those that never will.
    pub refused: Vec<EntryFailure>,
}

/// Judges failures of entries. A throttled one is the caller's fault by the book, but does the next time.
#[must_use]
pub fn judge(failures: Vec<EntryFailure>) -> Verdict {
    let mut verdict = Verdict::default();
    for failure in failures {
        let is_busy = failure.code.contains("Throttl") || failure.code.contains("Unavailable");
        if failure.is_senders && !is_busy {
            verdict.refused.push(failure);
        } else {
            verdict.again.push(failure.index);
        }
    }
    verdict
}

/// How long to wait before entries are sent again that failed so often, or `None` to give up. The wait doubles each
/// time; `jitter`, from 0 to 1, says where in its second half it ends.
#[must_use]
pub fn next_wait(failed: u32, jitter: f64) -> Option<Duration> {
    if failed >= ATTEMPTS {
        return None;
    }
    let longest = FIRST_WAIT.saturating_mul(1 << failed.min(16)).min(LONGEST_WAIT);
    Some(longest.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
}

/// A body as SQS takes it, which is text of some characters, one at least. It ends where the first byte or character is that
/// SQS takes in no message; with nothing left it is a blank.
#[must_use]
pub fn sendable(body: &[u8]) -> Cow<'_, str> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default(),
    };
    let end = text.find(|letter| !is_taken(letter)).unwrap_or(text.len());
    if end == 0 { Cow::Borrowed(" ") } else { Cow::Borrowed(&text[..end]) }
}

const fn is_taken(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failure(index: usize, code: &str, is_senders: bool) -> EntryFailure {
        EntryFailure { index, code: code.to_owned(), is_senders }
    }

    #[test]
    fn only_what_never_will_do_is_refused() {
        let refused = failure(1, "InvalidMessageContents", true);
        let failures = vec![
            failure(0, "InternalError", false),
            refused.clone(),
            failure(2, "RequestThrottled", true),
            failure(3, "ServiceUnavailable", true),
        ];
        assert_eq!(judge(failures), Verdict { again: vec![0, 2, 3], refused: vec![refused] });
    }

    #[test]
    fn waits_grow_and_end() {
        let waits: Vec<_> = (0..).map_while(|failed| next_wait(failed, 1.0)).map(|wait| wait.as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000]);
        assert_eq!(next_wait(0, 0.0), Some(Duration::from_millis(50)));
        assert_eq!(next_wait(u32::MAX, 0.5), None);
    }

    #[test]
    fn a_body_ends_where_sqs_takes_no_more() {
        let cases: [(&[u8], &str); 6] = [
            (b"{\"a\": 1}", "{\"a\": 1}"),
            (b"", " "),
            (b"\xff", " "),
            (b"{\"a\": \"\xff\"}", "{\"a\": \""),
            (b"a\x0bc", "a"),
            ("\u{10ffff}\u{fffe}".as_bytes(), "\u{10ffff}"),
        ];
        for (body, expected) in cases {
            assert_eq!(sendable(body), expected);
        }
    }

    proptest! {
        #[test]
        fn any_body_can_be_sent(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let text = sendable(&body);
            prop_assert!(!text.is_empty() && text.chars().all(is_taken));
            prop_assert!(body.starts_with(text.as_bytes()) || text == " ");
        }
    }
}
