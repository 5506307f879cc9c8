//! Reads an interval: `INTERVAL 10 MINUTES`, `INTERVAL '10' MINUTE`, `'1 day 2 hours'`.

use std::time::Duration;

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::is_word;

/// The interval at a position, which is moved after it; `None` if it isn't one of fixed length.
pub(super) fn interval(tokens: &[TokenWithSpan], at: &mut usize) -> Option<Duration> {
    *at += usize::from(tokens.get(*at).is_some_and(|token| is_word(token, "INTERVAL")));
    let mut words = Vec::new();
    if let Some(Token::SingleQuotedString(text)) = tokens.get(*at).map(|token| &token.token) {
        *at += 1;
        words.extend(text.split_whitespace().map(str::to_owned));
        if words.len() % 2 == 1 {
            words.push(unit(tokens, at)?);
        }
        return total(&words);
    }
    while let Some(Token::Number(number, _)) = tokens.get(*at).map(|token| &token.token) {
        *at += 1;
        words.push(number.clone());
        words.push(unit(tokens, at)?);
    }
    (!words.is_empty()).then(|| total(&words)).flatten()
}

/// The interval in a text: `1 day 2 hours`, with or without the word INTERVAL before it.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let words = match words.split_first() {
        Some((first, rest)) if first.eq_ignore_ascii_case("interval") => rest,
        _ => &words,
    };
    (!words.is_empty()).then(|| total(words)).flatten()
}

fn unit(tokens: &[TokenWithSpan], at: &mut usize) -> Option<String> {
    let Some(Token::Word(unit)) = tokens.get(*at).map(|token| &token.token) else { return None };
    *at += 1;
    Some(unit.value.clone())
}

/// The sum of `number unit` pairs.
fn total(words: &[String]) -> Option<Duration> {
    words.chunks(2).try_fold(Duration::ZERO, |sum, pair| {
        let number: u64 = pair.first()?.parse().ok()?;
        let unit = match pair.get(1)?.to_lowercase().trim_end_matches('s') {
            "millisecond" => return sum.checked_add(Duration::from_millis(number)),
            "second" => 1,
            "minute" => 60,
            "hour" => 3_600,
            "day" => 86_400,
            "week" => 604_800,
            _ => return None,
        };
        sum.checked_add(Duration::from_secs(number.checked_mul(unit)?))
    })
}
