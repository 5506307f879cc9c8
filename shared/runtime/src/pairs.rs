//! Settings that bind event sources to the queues or hubs of a cloud: `<source>=<name>`, separated by commas.

use std::collections::BTreeMap;

use crate::error::{Result, RuntimeError};

/// The source of each name. `what` is what is named, for the error.
///
/// # Errors
/// `Invalid` for what is no pair.
pub(crate) fn sources(variable: &str, text: Option<&str>, what: &str) -> Result<BTreeMap<String, String>> {
    let pairs = text.into_iter().flat_map(|pairs| pairs.split(','));
    pairs
        .map(|text| {
            let (source, name) =
                text.split_once('=').map(|(source, name)| (source.trim(), name.trim())).unwrap_or_default();
            if source.is_empty() || name.is_empty() {
                let problem = format!("`{}` is no pair; write `<source>=<{what} name>`", text.trim());
                return Err(RuntimeError::Setting { name: variable.to_owned(), problem });
            }
            Ok((name.to_owned(), source.to_owned()))
        })
        .collect()
}
