//! The client of AWS's SDK, and what its errors mean.

use std::error::Error;
use std::time::Duration;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::{Client, config};
use headwater_core::aws::sqs::QueueAddress;
use headwater_core::aws::sqs::fault::{self, Fault, NO_ANSWER, NO_CREDENTIALS, NO_REGION};

use crate::error::{Result, RuntimeError};

/// A single request, without the time that it waits at the queue for messages.
pub(super) const REQUEST: Duration = Duration::from_secs(10);
/// A request with its repetitions.
pub(super) const CALL: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(3);
/// A request and its repetitions.
const ATTEMPTS: u32 = 5;

/// A client of the service that holds the queue. What the address doesn't say comes from the environment and the profile;
/// the region isn't looked for on the network.
pub(super) async fn connect(address: &QueueAddress) -> Result<Client> {
    let region = RegionProviderChain::first_try(address.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
    let shared = aws_config::defaults(BehaviorVersion::latest()).region(region).load().await;
    if shared.region().is_none_or(|region| region.as_ref().is_empty()) {
        return Err(error(address, "find", "no region".to_owned(), NO_REGION));
    }
    let mut builder = config::Builder::from(&shared).timeout_config(timeouts(REQUEST)).retry_config(retries());
    if let Some(endpoint) = &address.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Ok(Client::from_conf(builder.build()))
}

/// Limits of a call whose single request takes so long at most.
pub(super) fn timeouts(request: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(request)
        .operation_timeout(CALL.max(request))
        .build()
}

pub(super) fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}

/// What a failed call of the SDK means. The text is the service's, which knows nothing of what messages hold.
pub(super) fn failed<E, R>(address: &QueueAddress, action: &'static str, failure: SdkError<E, R>) -> RuntimeError
where
    E: Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + 'static,
{
    match &failure {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or_default();
            let reason = answer.err().message().unwrap_or(code).trim_end_matches('.').to_owned();
            error(address, action, reason, fault::of_code(code))
        }
        SdkError::TimeoutError(_) => error(address, action, "no answer in time".to_owned(), NO_ANSWER),
        _ if lacks_credentials(&failure) => error(address, action, "not signed in".to_owned(), NO_CREDENTIALS),
        _ => error(address, action, innermost(&failure), NO_ANSWER),
    }
}

pub(super) fn error(address: &QueueAddress, action: &'static str, reason: String, fault: Fault) -> RuntimeError {
    let Fault { kind, remedy } = fault;
    RuntimeError::Queue { queue: address.to_string(), action, reason, kind, remedy }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<CredentialsError>())
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}
