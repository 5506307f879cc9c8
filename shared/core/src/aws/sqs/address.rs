//! Where a queue is: by its name, its URL or its ARN.

use std::fmt;

use percent_encoding::percent_decode_str;
use thiserror::Error;

/// What a written address starts with.
const SCHEME: &str = "sqs://";
/// Letters of a queue's name at most, `.fifo` included.
const MAX_NAME: usize = 80;

/// A queue and how to reach it. What it doesn't say is up to the environment and the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAddress {
    /// Which queue.
    pub target: Target,
    /// Its region.
    pub region: Option<String>,
    /// URL of the service, for another one than AWS's own.
    pub endpoint: Option<String>,
    /// The message group of what is sent, for a FIFO queue.
    pub group: Option<String>,
}

/// What names a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Its name, and the account that owns it when it isn't the caller's.
    Name {
        /// The name, `.fifo` included.
        name: String,
        /// Twelve digits.
        account: Option<String>,
    },
    /// Its URL, used as it is.
    Url(String),
}

/// A text that is no address of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is no queue: {problem}")]
pub struct AddressError {
    text: String,
    problem: String,
}

impl AddressError {
    /// How an address is written.
    pub const HELP: &'static str =
        "write `sqs://<queue name>`, where need be with `?region=<region>&endpoint=<URL>`, or the queue's URL";
}

impl QueueAddress {
    /// Whether a text is meant as an address rather than a name or a path.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME) || text.starts_with("https://") || text.starts_with("http://")
    }

    /// Reads `sqs://<name>?region=…&account=…&endpoint=…&group=…`, in which all after the name may be left out, or the URL
    /// of a queue, with `https://`, or with `http://` for a queue that isn't AWS's.
    ///
    /// # Errors
    /// [`AddressError`], which says what is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let address = match text.strip_prefix(SCHEME) {
            Some(rest) => named(rest),
            None if Self::is_meant(text) => located(text),
            None => Err("it starts with neither `sqs://` nor `https://`".to_owned()),
        };
        address.map_err(|problem| AddressError { text: text.to_owned(), problem })
    }

    /// Reads `arn:<partition>:sqs:<region>:<account>:<name>`.
    ///
    /// # Errors
    /// [`AddressError`] when it is no ARN of a queue.
    pub fn of_arn(arn: &str) -> Result<Self, AddressError> {
        let parts: Vec<_> = arn.split(':').collect();
        let [_, _, "sqs", region, account, name] = parts[..] else {
            return Err(AddressError { text: arn.to_owned(), problem: "it is no ARN of a queue".to_owned() });
        };
        let target = Target::Name { name: name.to_owned(), account: Some(account.to_owned()) };
        Ok(Self { target, region: Some(region.to_owned()), endpoint: None, group: None })
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.target {
            Target::Name { name, .. } => name,
            Target::Url(url) => url.rsplit('/').next().unwrap_or_default(),
        }
    }

    /// Whether it is a FIFO queue, which its name says.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }
}

impl fmt::Display for QueueAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Name { name, .. } => write!(f, "{SCHEME}{name}"),
            Target::Url(url) => f.write_str(url),
        }
    }
}

fn named(rest: &str) -> Result<QueueAddress, String> {
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    let name = checked_name(name)?;
    let (mut account, mut region, mut endpoint, mut group) = (None, None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8().map_err(|_| format!("`{key}` is no UTF-8"))?.into_owned();
        let place = match key {
            "account" => &mut account,
            "region" => &mut region,
            "endpoint" => &mut endpoint,
            "group" => &mut group,
            _ => return Err(format!("it knows no `{key}`, but `region`, `endpoint`, `account` and `group`")),
        };
        if value.is_empty() || place.replace(value).is_some() {
            return Err(format!("`{key}` needs one value"));
        }
    }
    if endpoint.as_deref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        return Err("`endpoint` is no URL".to_owned());
    }
    Ok(QueueAddress { target: Target::Name { name, account }, region, endpoint, group })
}

fn checked_name(name: &str) -> Result<String, String> {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if stem.is_empty() || name.len() > MAX_NAME || !stem.chars().all(is_letter) {
        return Err(format!("a name has up to {MAX_NAME} letters, digits, `-` and `_`, and may end in `.fifo`"));
    }
    Ok(name.to_owned())
}

/// A URL as AWS gives it, `https://sqs.<region>.amazonaws.com/<account>/<name>`, or as a stand-in for AWS does, whose
/// endpoint is then the URL's beginning.
fn located(url: &str) -> Result<QueueAddress, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (host, path) = rest.split_once('/').ok_or_else(|| "the URL names no queue".to_owned())?;
    checked_name(path.rsplit('/').next().unwrap_or_default())?;
    let region = aws_region(host);
    if region.is_some() && scheme != "https" {
        return Err("AWS is reached by `https://` only".to_owned());
    }
    let endpoint = region.is_none().then(|| format!("{scheme}://{host}"));
    Ok(QueueAddress { target: Target::Url(url.to_owned()), region, endpoint, group: None })
}

/// The region in one of AWS's own hosts.
fn aws_region(host: &str) -> Option<String> {
    let stem = host.strip_suffix(".amazonaws.com.cn").or_else(|| host.strip_suffix(".amazonaws.com"))?;
    let modern = stem.strip_prefix("sqs.").or_else(|| stem.strip_prefix("sqs-fips."));
    modern.or_else(|| stem.strip_suffix(".queue")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(address: &QueueAddress) -> (&str, Option<&str>, Option<&str>) {
        (address.name(), address.region.as_deref(), address.endpoint.as_deref())
    }

    #[test]
    fn a_name_is_enough_and_the_rest_may_be_said() {
        assert_eq!(name(&QueueAddress::parse("sqs://events").unwrap()), ("events", None, None));
        let full = "sqs://e.fifo?region=eu-west-1&endpoint=http%3A%2F%2F127.0.0.1:4566&account=123456789012&group=g";
        let address = QueueAddress::parse(full).unwrap();
        assert_eq!(name(&address), ("e.fifo", Some("eu-west-1"), Some("http://127.0.0.1:4566")));
        assert_eq!(address.group.as_deref(), Some("g"));
        assert!(address.is_fifo());
        assert_eq!(address.to_string(), "sqs://e.fifo");
    }

    #[test]
    fn urls_and_arns_say_region_and_endpoint() {
        let cases = [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/events", Some("eu-west-1"), None),
            ("https://eu-west-1.queue.amazonaws.com/123456789012/events", Some("eu-west-1"), None),
            ("http://127.0.0.1:4566/queue/us-east-1/000000000000/events", None, Some("http://127.0.0.1:4566")),
        ];
        for (url, region, endpoint) in cases {
            let address = QueueAddress::parse(url).unwrap();
            assert_eq!(name(&address), ("events", region, endpoint));
            assert_eq!(address.target, Target::Url(url.to_owned()));
        }
        let address = QueueAddress::of_arn("arn:aws:sqs:eu-west-1:123456789012:events").unwrap();
        assert_eq!(name(&address), ("events", Some("eu-west-1"), None));
        assert!(QueueAddress::of_arn("arn:aws:s3:::events").is_err());
    }

    #[test]
    fn what_is_no_address_says_why() {
        let cases = [
            ("events", "neither"),
            ("sqs://", "up to 80"),
            ("sqs://a/b", "up to 80"),
            ("sqs://a?zone=x", "no `zone`"),
            ("sqs://a?region=", "needs one value"),
            ("sqs://a?region=x&region=y", "needs one value"),
            ("sqs://a?endpoint=127.0.0.1", "no URL"),
            ("https://sqs.eu-west-1.amazonaws.com", "names no queue"),
            ("http://sqs.eu-west-1.amazonaws.com/1/a", "https"),
        ];
        for (text, problem) in cases {
            let error = QueueAddress::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
