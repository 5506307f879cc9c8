//! Buckets: Amazon S3, and Azure's blob storage with or without a hierarchical namespace.
//!
//! Settings come from the environment, by the names that the clouds' own tools use (`AWS_REGION`, `AWS_ENDPOINT_URL`,
//! `AZURE_STORAGE_ACCOUNT_NAME` …). Commits put an object only where none is, which both clouds decide atomically.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::credentials::Chain;
use crate::error::{LakeError, Result};

/// Which cloud a URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cloud {
    Amazon,
    Azure,
}

impl Cloud {
    fn of(url: &Url) -> Option<Self> {
        match url.scheme() {
            "s3" | "s3a" => Some(Self::Amazon),
            "abfss" | "abfs" | "az" | "azure" => Some(Self::Azure),
            _ => None,
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Amazon => "AWS_",
            Self::Azure => "AZURE_",
        }
    }

    /// What to do about a bucket that can't be opened: the credentials are mended where the problem is theirs.
    fn help(self, problem: &str) -> &'static str {
        match self {
            Self::Amazon if problem.contains("AccessKey") => {
                "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither of them and AWS_PROFILE or a role"
            }
            Self::Amazon => "write s3://<bucket>/<folder>, and set AWS_REGION",
            Self::Azure if problem.contains("Access Key") => {
                "copy AZURE_STORAGE_ACCOUNT_KEY once more: a key is base64, 88 characters that end with `==`"
            }
            Self::Azure if problem.contains("SAS") => {
                "copy AZURE_STORAGE_SAS_TOKEN once more: a token is pairs such as sv=…&se=…&sig=…, joined by `&`"
            }
            Self::Azure => {
                "write abfss://<container>@<account>.dfs.core.windows.net/<folder>, or az://<container>/<folder> with AZURE_STORAGE_ACCOUNT_NAME"
            }
        }
    }
}

/// The store of a bucket or container, if the URL names one. Nothing is asked of it yet, so a bucket that isn't there
/// shows with the first request.
///
/// # Errors
/// `Invalid` for a URL or settings that can't be understood, and for a URL with a secret, which isn't told.
pub(crate) fn open(
    url: &Url,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Option<Arc<dyn ObjectStore>>> {
    refuse_secrets(url)?;
    let Some(cloud) = Cloud::of(url) else { return Ok(None) };
    let wrong = |problem: String| LakeError::Configuration {
        help: cloud.help(&problem).into(),
        message: format!("storage `{url}` can't be opened: {problem}"),
    };
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it names no bucket".into()));
    }
    let settings = environment
        .filter(|(name, value)| name.starts_with(cloud.prefix()) && !value.trim().is_empty())
        .map(|(name, value)| (name.to_ascii_lowercase(), value));
    let store: Arc<dyn ObjectStore> = match cloud {
        Cloud::Amazon => Arc::new(amazon(url, settings).map_err(|error| wrong(error.to_string()))?),
        Cloud::Azure => Arc::new(azure(url, settings).map_err(|error| wrong(error.to_string()))?),
    };
    Ok(Some(store))
}

/// URLs are in project files, logs and tables: what a portal appends to them, such as a shared access signature, must not be.
fn refuse_secrets(url: &Url) -> Result<()> {
    if url.query().is_none() && url.fragment().is_none() && url.password().is_none() {
        return Ok(());
    }
    let shown = format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path());
    Err(LakeError::Configuration {
        message: format!("storage `{shown}` can't be opened: its URL holds more than a place, which may be a secret"),
        help: "leave out what begins with `?` or `#`, and any password; give a shared access signature by AZURE_STORAGE_SAS_TOKEN, or a key by \
               AZURE_STORAGE_ACCOUNT_KEY or AWS_SECRET_ACCESS_KEY"
            .into(),
    })
}

fn amazon(
    url: &Url,
    settings: impl Iterator<Item = (String, String)>,
) -> object_store::Result<object_store::aws::AmazonS3> {
    let mut builder = AmazonS3Builder::new().with_client_options(client()).with_retry(retries());
    for (name, value) in settings {
        if let Ok(key) = name.parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let is_set = |key: &AmazonS3ConfigKey| builder.get_config_value(key);
    let endpoint = is_set(&AmazonS3ConfigKey::S3Endpoint).or_else(|| is_set(&AmazonS3ConfigKey::Endpoint));
    let has_keys = is_set(&AmazonS3ConfigKey::AccessKeyId).is_some();
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp), "true");
    }
    if !has_keys {
        builder = builder.with_credentials(Arc::new(Chain::default()));
    }
    builder.with_bucket_name(url.host_str().unwrap_or_default()).build()
}

fn azure(
    url: &Url,
    settings: impl Iterator<Item = (String, String)>,
) -> object_store::Result<object_store::azure::MicrosoftAzure> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_client_options(client()).with_retry(retries());
    for (name, value) in settings {
        if let Ok(key) = name.parse::<AzureConfigKey>() {
            let is_open = key == AzureConfigKey::Endpoint && value.starts_with("http://");
            builder = builder.with_config(key, value);
            if is_open {
                builder = builder.with_config(AzureConfigKey::Client(ClientConfigKey::AllowHttp), "true");
            }
        }
    }
    builder.with_url(url.as_str()).build()
}

fn client() -> ClientOptions {
    ClientOptions::new().with_connect_timeout(Duration::from_secs(5)).with_timeout(Duration::from_secs(30))
}

/// Well below the time that a function has: what still fails then is told to the host, which comes again.
fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(50), max_backoff: Duration::from_secs(2), base: 2. };
    RetryConfig { backoff, max_retries: 8, retry_timeout: Duration::from_secs(20) }
}
