//! Checks shared access signatures.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

/// What a peer may reach, and until when (seconds since 1970).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    path: String,
    until: i64,
}

impl Grant {
    /// A grant of everything below a resource.
    pub(crate) fn new(resource: &str, until: i64) -> Self {
        Self { path: path(resource).to_lowercase(), until }
    }

    /// Names are compared without regard to case, as some clients sign them in small letters.
    pub(crate) fn covers(&self, node: &str, now: i64) -> bool {
        let node = node.to_lowercase();
        let below = node.strip_prefix(self.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        now < self.until && (self.path.is_empty() || below)
    }
}

/// The grant of a token that is signed with this key; what is wrong with it.
pub(crate) fn check(token: &str, (name, key): (&str, &str), now: i64) -> Result<Grant, &'static str> {
    let fields = token.strip_prefix("SharedAccessSignature ").ok_or("the token is no shared access signature")?;
    let field = |wanted: &str| {
        let found = fields.split('&').find_map(|field| field.split_once('=').filter(|(name, _)| *name == wanted));
        found.map(|(_, value)| value).ok_or("the token lacks a field")
    };
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (resource, expiry) = (field("sr")?, field("se")?);
    if decoded(field("skn")?) != name {
        return Err("the key's name is unknown");
    }
    let signature = BASE64_STANDARD.decode(decoded(field("sig")?)).map_err(|_| "the signature is malformed")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|_| "the key can't be used")?;
    mac.update(format!("{resource}\n{expiry}").as_bytes());
    mac.verify_slice(&signature).map_err(|_| "the signature is wrong")?;
    let until = expiry.parse().map_err(|_| "the expiry is malformed")?;
    if until <= now { Err("the token has expired") } else { Ok(Grant::new(&decoded(resource), until)) }
}

/// The path of a resource, without scheme, host and port.
pub(crate) fn path(resource: &str) -> String {
    let path = match resource.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => resource,
    };
    path.trim_matches('/').replace("%24", "$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(key: &str, expiry: i64) -> String {
        let resource = "amqps%3A%2F%2Fns%2Fhub";
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(format!("{resource}\n{expiry}").as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes()).replace('+', "%2B").replace('=', "%3D");
        format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn=name")
    }

    #[test]
    fn a_token_grants_what_it_names_until_it_expires() {
        let grant = check(&token("secret", 100), ("name", "secret"), 50).unwrap();
        assert!(grant.covers("hub", 50) && grant.covers("hub/ConsumerGroups/$Default/Partitions/0", 50));
        assert!(!grant.covers("hub2", 50) && !grant.covers("hub", 100));
    }

    #[test]
    fn a_wrong_token_is_refused() {
        assert_eq!(check(&token("guess", 100), ("name", "secret"), 50), Err("the signature is wrong"));
        assert_eq!(check(&token("secret", 100), ("other", "secret"), 50), Err("the key's name is unknown"));
        assert_eq!(check(&token("secret", 100), ("name", "secret"), 100), Err("the token has expired"));
        assert!(check("SharedAccessSignature sr=a", ("name", "secret"), 0).is_err());
    }
}
