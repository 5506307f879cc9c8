//! Where a hub is, and which one it is.

use std::fmt;

use percent_encoding::percent_decode_str;
use thiserror::Error;

const SCHEME: &str = "eventhubs://";
/// The group that every hub has.
const DEFAULT_GROUP: &str = "$Default";
/// What names of namespaces end in, unless they are written out.
const DOMAIN: &str = ".servicebus.windows.net";

/// Where a hub is. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubAddress {
    /// The host of the namespace.
    pub namespace: String,
    /// The hub's name.
    pub hub: String,
    /// Who reads: groups don't know of each other.
    pub consumer_group: String,
    /// `amqp://` or `amqps://` URL of the service, for another one than Azure's own.
    pub endpoint: Option<String>,
}

/// A text that is no address of a hub.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is no hub: {problem}")]
pub struct HubAddressError {
    text: String,
    problem: String,
}

impl HubAddressError {
    /// How an address is written.
    pub const HELP: &'static str =
        "write `eventhubs://<namespace>/<hub>`, where need be with `?consumer_group=<group>&endpoint=<amqp URL>`";
}

impl HubAddress {
    /// Whether a text is meant as an address of a hub.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Reads `eventhubs://<namespace>/<hub>?consumer_group=…&endpoint=…`, in which all after the hub may be left out. A namespace without
    /// a dot is one of Azure's public cloud.
    ///
    /// # Errors
    /// [`HubAddressError`], which says what is wrong. It doesn't repeat what may be a secret.
    pub fn parse(text: &str) -> Result<Self, HubAddressError> {
        let shown = text.split('?').next().unwrap_or_default();
        let shown = shown.rsplit_once('@').map_or(shown, |(_, rest)| rest).to_owned();
        let wrong = |problem: String| HubAddressError { text: shown.clone(), problem };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong(format!("it doesn't start with `{SCHEME}`")))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (namespace, hub) = path.split_once('/').ok_or_else(|| wrong("it names no hub".to_owned()))?;
        let namespace = namespace_of(namespace).map_err(wrong)?;
        if !is_name(hub) {
            return Err(wrong("a hub's name has letters, digits, `.`, `-` and `_`".to_owned()));
        }
        let (mut group, mut endpoint) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8().map_err(|_| wrong(format!("`{key}` is no UTF-8")))?;
            let place = match key {
                "consumer_group" => &mut group,
                "endpoint" => &mut endpoint,
                _ => return Err(wrong("it knows only `consumer_group` and `endpoint`".to_owned())),
            };
            if value.is_empty() || place.replace(value.into_owned()).is_some() {
                return Err(wrong(format!("`{key}` needs one value")));
            }
        }
        if endpoint.as_deref().is_some_and(|url| !url.starts_with("amqp://") && !url.starts_with("amqps://")) {
            return Err(wrong("`endpoint` is no `amqp://` or `amqps://` URL".to_owned()));
        }
        let consumer_group = group.unwrap_or_else(|| DEFAULT_GROUP.to_owned());
        Ok(Self { namespace, hub: hub.to_owned(), consumer_group, endpoint })
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.namespace, self.hub)
    }
}

fn namespace_of(text: &str) -> Result<String, String> {
    if !is_name(text) {
        return Err("a namespace has letters, digits, `.` and `-`, and no user or port".to_owned());
    }
    let is_whole = text.contains('.') || text == "localhost";
    Ok(if is_whole { text.to_lowercase() } else { format!("{}{DOMAIN}", text.to_lowercase()) })
}

fn is_name(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    !text.is_empty() && text.len() <= 256 && text.chars().all(is_letter)
}

/// One life of a hub: deleted and made anew under the same name, it is another one, which counts from 0 again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubIdentity {
    /// The host of the namespace.
    pub namespace: String,
    /// The hub's name.
    pub hub: String,
    /// When it was made, in milliseconds since 1970; `None` where the service doesn't say.
    pub created: Option<i64>,
}

impl HubIdentity {
    /// What tells a partition of this hub from all others, in `txn`s.
    #[must_use]
    pub fn partition(&self, partition: &str) -> String {
        let Self { namespace, hub, created } = self;
        let created = created.map_or_else(String::new, |created| format!("@{created}"));
        format!("{namespace}/{hub}{created}/{partition}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_hub() {
        let address = HubAddress::parse("eventhubs://Airport/flights").unwrap();
        assert_eq!(address.to_string(), "eventhubs://airport.servicebus.windows.net/flights");
        assert_eq!((address.consumer_group.as_str(), address.endpoint), ("$Default", None));
        let address = "eventhubs://localhost/flights?consumer_group=lake&endpoint=amqp%3A%2F%2F127.0.0.1%3A5672";
        let address = HubAddress::parse(address).unwrap();
        assert_eq!((address.namespace.as_str(), address.consumer_group.as_str()), ("localhost", "lake"));
        assert_eq!(address.endpoint.as_deref(), Some("amqp://127.0.0.1:5672"));
    }

    #[test]
    fn a_wrong_address_says_why_and_keeps_secrets() {
        for (text, problem) in [
            ("sqs://a", "doesn't start with"),
            ("eventhubs://ns", "names no hub"),
            ("eventhubs://ns/", "hub's name"),
            ("eventhubs://ns:1/h", "no user or port"),
            ("eventhubs://me:hunter2@ns/h", "no user or port"),
            ("eventhubs://ns/h?key=hunter2", "knows only"),
            ("eventhubs://ns/h?consumer_group=", "needs one value"),
            ("eventhubs://ns/h?endpoint=http://hunter2", "is no `amqp://`"),
        ] {
            let error = HubAddress::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_hub_made_anew_is_another_one() {
        let hub = |created| HubIdentity { namespace: "n".into(), hub: "h".into(), created }.partition("0");
        assert_eq!((hub(None), hub(Some(7))), ("n/h/0".to_owned(), "n/h@7/0".to_owned()));
    }
}
