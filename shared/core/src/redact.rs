//! Secrets left out of what people read.

use std::borrow::Cow;

/// What stands before a secret in URLs and connection strings, in small letters.
const NAMES: [&str; 7] = [
    "sig=",
    "x-amz-signature=",
    "x-amz-security-token=",
    "x-amz-credential=",
    "accountkey=",
    "sharedaccesskey=",
    "client_secret=",
];

/// `text` with `…` in place of each signature, key or token that a URL or a connection string holds.
///
/// Client libraries put URLs into their errors and logs, and with a shared access signature the URL is the secret.
///
/// ```
/// use headwater_core::redact::redacted;
/// assert_eq!(redacted("PUT https://a.b/c?sp=rl&sig=c2VjcmV0%3D failed"), "PUT https://a.b/c?sp=rl&sig=… failed");
/// ```
#[must_use]
pub fn redacted(text: &str) -> Cow<'_, str> {
    let small = text.to_ascii_lowercase();
    let mut kept = String::new();
    let mut at = 0;
    while let Some(start) = NAMES.iter().filter_map(|name| secret_after(&small, at, name)).min() {
        let secret = text[start..].bytes().take_while(|byte| is_of_a_value(*byte)).count();
        kept.push_str(&text[at..start]);
        kept.push('…');
        at = start + secret;
    }
    if at == 0 {
        return Cow::Borrowed(text);
    }
    kept.push_str(&text[at..]);
    Cow::Owned(kept)
}

/// Where the value of `name` starts at or after `from`: the name is a word of its own and the value isn't empty.
fn secret_after(text: &str, from: usize, name: &str) -> Option<usize> {
    text[from..].match_indices(name).map(|(found, _)| from + found).find_map(|found| {
        let is_word = !text[..found].bytes().next_back().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let start = found + name.len();
        let is_given = text[start..].bytes().next().is_some_and(is_of_a_value);
        (is_word && is_given).then_some(start)
    })
}

/// Letters of base64 in both alphabets, alone or percent-encoded.
fn is_of_a_value(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=-_.~%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_urls_and_connection_strings_are_left_out() {
        for (text, shown) in [
            ("https://a/b?sp=rl&sig=aB%2F9%3D&se=2026", "https://a/b?sp=rl&sig=…&se=2026"),
            ("https://a/b?sig=aB/9= in 3 ms; https://a/c?SIG=xyz", "https://a/b?sig=… in 3 ms; https://a/c?SIG=…"),
            (
                "Endpoint=sb://h/;SharedAccessKeyName=all;SharedAccessKey=k3y=;EntityPath=e",
                "Endpoint=sb://h/;SharedAccessKeyName=all;SharedAccessKey=…;EntityPath=e",
            ),
            ("AccountName=a;AccountKey=a+b/c==;", "AccountName=a;AccountKey=…;"),
            ("?X-Amz-Credential=AK%2F20260101&X-Amz-Signature=00ff", "?X-Amz-Credential=…&X-Amz-Signature=…"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for text in ["", "sig=", "design=blue", "SIG= is missing", "é sig", "the signature sig is not there: sig=…"]
        {
            assert!(matches!(redacted(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}
