//! What a hub lets one in by.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_identity::{
    AzureCliCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential,
};
use azure_messaging_eventhubs::ConnectionString;
use headwater_core::hub::HubAddress;

use crate::error::{Result, RuntimeError};

/// The variable with a connection string.
pub const CONNECTION_VARIABLE: &str = "HEADWATER_EVENTHUBS_CONNECTION_STRING";
/// The variable that chooses an identity: `managed`, `workload` or `cli`.
pub const IDENTITY_VARIABLE: &str = "HEADWATER_EVENTHUBS_IDENTITY";

/// What a hub lets one in by. Its secret isn't shown.
#[derive(Clone)]
pub enum Credentials {
    /// A connection string with a shared access key.
    ConnectionString(String),
    /// An identity of Entra ID: of a machine, a workload or a developer.
    Identity(Arc<dyn TokenCredential>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionString(_) => "ConnectionString",
            Self::Identity(_) => "Identity",
        })
    }
}

impl Credentials {
    /// Those for a hub: the connection string, if the environment has one, or an identity of Entra ID. Which identity, its variable says; otherwise it is
    /// the workload's where there is a token file of it, the machine's where Azure names an endpoint for it, and the one of Azure's command line elsewhere.
    ///
    /// # Errors
    /// `Invalid` when a variable can't be used, or a connection string is of another namespace or hub. No error repeats it.
    pub fn read(environment: &BTreeMap<String, String>, address: &HubAddress) -> Result<Self> {
        let of = |name: &str| environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        if let Some(text) = of(CONNECTION_VARIABLE) {
            check(text, address)?;
            return Ok(Self::ConnectionString(text.to_owned()));
        }
        let machine = of("IDENTITY_ENDPOINT").is_some() || of("MSI_ENDPOINT").is_some();
        let found = match of("AZURE_FEDERATED_TOKEN_FILE") {
            Some(_) => "workload",
            None if machine => "managed",
            None => "cli",
        };
        let identity: azure_core::Result<Arc<dyn TokenCredential>> = match of(IDENTITY_VARIABLE).unwrap_or(found) {
            "workload" => WorkloadIdentityCredential::new(None).map(|identity| identity as Arc<dyn TokenCredential>),
            "managed" => {
                let user_assigned_id = of("AZURE_CLIENT_ID").map(|id| UserAssignedId::ClientId(id.to_owned()));
                let options = ManagedIdentityCredentialOptions { user_assigned_id, ..Default::default() };
                ManagedIdentityCredential::new(Some(options)).map(|identity| identity as Arc<dyn TokenCredential>)
            }
            "cli" => AzureCliCredential::new(None).map(|identity| identity as Arc<dyn TokenCredential>),
            _ => return Err(wrong(IDENTITY_VARIABLE, "write `managed`, `workload` or `cli`".to_owned())),
        };
        identity.map(Self::Identity).map_err(|error| wrong(IDENTITY_VARIABLE, error.to_string()))
    }
}

fn check(text: &str, address: &HubAddress) -> Result<()> {
    let parsed: ConnectionString = text.parse().map_err(|_| {
        let form = "Endpoint=sb://<namespace>/;SharedAccessKeyName=<name>;SharedAccessKey=<key>";
        wrong(CONNECTION_VARIABLE, format!("it is no connection string; write `{form}`"))
    })?;
    let host = parsed.fully_qualified_namespace.trim_end_matches('/').to_lowercase();
    if address.endpoint.is_none() && host != address.namespace {
        let problem = format!("it is of namespace {host}, and the hub is {address}; leave it out or name the other");
        return Err(wrong(CONNECTION_VARIABLE, problem));
    }
    if parsed.entity_path.as_ref().is_some_and(|hub| *hub != address.hub) {
        return Err(wrong(CONNECTION_VARIABLE, format!("it is of another hub than {address}; take the namespace's")));
    }
    Ok(())
}

fn wrong(name: &str, problem: String) -> RuntimeError {
    RuntimeError::Setting { name: name.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRING: &str =
        "Endpoint=sb://airport.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=aHVudGVyMg==";

    fn read(hub: &str, environment: &[(&str, &str)]) -> Result<Credentials> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Credentials::read(&environment, &HubAddress::parse(hub).unwrap())
    }

    #[test]
    fn a_connection_string_counts_first_and_is_of_this_hub() {
        let found = read("eventhubs://airport/flights", &[(CONNECTION_VARIABLE, STRING), (IDENTITY_VARIABLE, "cli")]);
        assert!(matches!(found.unwrap(), Credentials::ConnectionString(_)));
        let of_hub = format!("{STRING};EntityPath=planes");
        for (hub, text, problem) in [
            ("eventhubs://harbour/flights", STRING, "another"),
            ("eventhubs://airport/flights", of_hub.as_str(), "another hub"),
            ("eventhubs://airport/flights", "SharedAccessKey=aHVudGVyMg==", "no connection string"),
        ] {
            let error = read(hub, &[(CONNECTION_VARIABLE, text)]).unwrap_err().to_string();
            assert!(error.contains(problem) || error.contains("the other"), "{error}");
            assert!(!error.contains("aHVudGVyMg"), "{error}");
        }
    }

    #[test]
    fn an_identity_is_chosen_or_found() {
        let hub = "eventhubs://airport/flights";
        for environment in [
            &[("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token"), ("AZURE_CLIENT_ID", "a")][..],
            &[(IDENTITY_VARIABLE, "managed")],
            &[(IDENTITY_VARIABLE, "cli")],
            &[],
        ] {
            assert!(matches!(read(hub, environment), Ok(Credentials::Identity(_))), "{environment:?}");
        }
        assert!(read(hub, &[(IDENTITY_VARIABLE, "mine")]).unwrap_err().to_string().contains("`workload`"));
    }
}
