//! AWS credentials where the environment holds none: profiles, single sign-on, web identities, containers and instances.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::Mutex;

/// Credentials are asked for again when they end sooner than this.
const MARGIN: Duration = Duration::from_secs(300);

/// The chain of providers that every tool of AWS goes through; asked when a request is made, and not again while what
/// it gave is good.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    chain: Option<Arc<DefaultCredentialsChain>>,
    credentials: Option<(Arc<AwsCredential>, Option<SystemTime>)>,
}

#[async_trait]
impl CredentialProvider for Chain {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut known = self.known.lock().await;
        if let Some((credential, end)) = &known.credentials
            && is_good(*end, SystemTime::now())
        {
            return Ok(Arc::clone(credential));
        }
        let chain = match &known.chain {
            Some(chain) => Arc::clone(chain),
            None => Arc::clone(known.chain.insert(Arc::new(DefaultCredentialsChain::builder().build().await))),
        };
        let credentials = chain.provide_credentials().await.map_err(|source| object_store::Error::Unauthenticated {
            path: "AWS credentials".to_owned(),
            source: Box::new(source),
        })?;
        let credential = Arc::new(signing(&credentials));
        known.credentials = Some((Arc::clone(&credential), credentials.expiry()));
        Ok(credential)
    }
}

fn is_good(end: Option<SystemTime>, now: SystemTime) -> bool {
    end.is_none_or(|end| now + MARGIN < end)
}

fn signing(credentials: &Credentials) -> AwsCredential {
    AwsCredential {
        key_id: credentials.access_key_id().to_owned(),
        secret_key: credentials.secret_access_key().to_owned(),
        token: credentials.session_token().map(str::to_owned),
    }
}
