//! The connected gateway: clients made once, shared by everything that bakes.
//!
//! TLS is rustls with ring. Retries are the SDK's standard ones, time-outs are ours
//! (the SDK has none beyond connecting). The behaviour version is pinned: an update
//! of the SDK must not change how forno waits or repeats.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::access::{Access, Limits};
use crate::attempts::{NoRetryForCapacity, Pending, credentials_error};
use crate::batch::Batcher;
use crate::error::{Error, Kind};
use crate::harmless::HarmlessIsFree;
use crate::ids::{ImageId, InstanceId, SnapshotId};
use crate::image::Image;
use crate::instance::Instance;
use crate::role::assume;
use crate::snapshot::Snapshot;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);

/// EC2 of one region, as one identity. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Shared>,
}

struct Shared {
    config: SdkConfig,
    for_machines: Option<String>,
    poll_spacing: Duration,
    elsewhere: Mutex<BTreeMap<String, Gateway>>,
    region: String,
    endpoint_url: Option<String>,
    credentials: SharedCredentialsProvider,
    clients: Clients,
    instances: Batcher<InstanceId, Instance>,
    images: Batcher<ImageId, Image>,
    snapshots: Batcher<SnapshotId, Snapshot>,
}

/// The SDK's clients with the region they call.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) region: Arc<str>,
    pub(crate) ec2: aws_sdk_ec2::Client,
    /// Of the whole account, whatever the region.
    pub(crate) iam: aws_sdk_iam::Client,
    #[cfg(feature = "kms")]
    pub(crate) kms: aws_sdk_kms::Client,
    pub(crate) s3: aws_sdk_s3::Client,
    /// Signs URLs for machines, who may know S3 under another address.
    pub(crate) s3_for_machines: aws_sdk_s3::Client,
    pub(crate) ssm: aws_sdk_ssm::Client,
    pub(crate) sts: aws_sdk_sts::Client,
}

impl Clients {
    pub(crate) fn call(&self, operation: &'static str) -> Pending {
        Pending::new(operation, &self.region)
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("region", &self.inner.region)
            .field("endpoint_url", &self.inner.endpoint_url)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Finds region and credentials and makes the clients. Calls no service, except
    /// what the chain of credentials itself needs.
    pub async fn connect(access: Access) -> Result<Self, Error> {
        let limits = access.limits.clone();
        let for_machines = access.machine_endpoint_url.clone();
        let config = load(access).await?;
        let region = config
            .region()
            .map(|region| region.as_ref().to_owned())
            .ok_or_else(|| {
                Error::local(Kind::Settings, "connecting", "", "no region is configured")
            })?;
        let credentials = config.credentials_provider().ok_or_else(|| {
            Error::local(
                Kind::Credentials,
                "loading of credentials",
                &region,
                "no provider is configured",
            )
        })?;
        credentials
            .provide_credentials()
            .await
            .map_err(|error| credentials_error(&region, &error))?;
        if let Some(url) = &for_machines {
            check_endpoint(url)?;
        }
        Ok(Self::of(
            config,
            region,
            credentials,
            for_machines,
            limits.poll_spacing,
        ))
    }

    /// The same identity in another region, by clients of its own that are made once.
    pub fn in_region(&self, region: &str) -> Self {
        if region == self.region() {
            return self.clone();
        }
        let mut elsewhere = self
            .inner
            .elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let there = elsewhere.entry(region.to_owned()).or_insert_with(|| {
            let config = self.inner.config.to_builder();
            Self::of(
                config.region(Region::new(region.to_owned())).build(),
                region.to_owned(),
                self.inner.credentials.clone(),
                self.inner.for_machines.clone(),
                self.inner.poll_spacing,
            )
        });
        there.clone()
    }

    fn of(
        config: SdkConfig,
        region: String,
        credentials: SharedCredentialsProvider,
        for_machines: Option<String>,
        poll_spacing: Duration,
    ) -> Self {
        let harmless = HarmlessIsFree::default();
        let ec2 = aws_sdk_ec2::config::Builder::from(&config)
            .retry_classifier(NoRetryForCapacity)
            .interceptor(harmless.clone())
            .build();
        // An endpoint of one's own rarely has a name for each bucket.
        let path_style = config.endpoint_url().is_some();
        let s3 = aws_sdk_s3::config::Builder::from(&config)
            .force_path_style(path_style)
            // No checksum but the signature's is asked of what is presigned.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .interceptor(harmless.clone());
        let s3_for_machines = match &for_machines {
            None => s3.clone(),
            Some(url) => s3.clone().endpoint_url(url).force_path_style(true),
        };
        let ssm = aws_sdk_ssm::config::Builder::from(&config)
            .interceptor(harmless.clone())
            .build();
        let iam = aws_sdk_iam::config::Builder::from(&config)
            .interceptor(harmless.clone())
            .build();
        let sts = aws_sdk_sts::config::Builder::from(&config)
            .interceptor(harmless.clone())
            .build();
        let clients = Clients {
            region: Arc::from(region.as_str()),
            ec2: aws_sdk_ec2::Client::from_conf(ec2),
            iam: aws_sdk_iam::Client::from_conf(iam),
            #[cfg(feature = "kms")]
            kms: aws_sdk_kms::Client::from_conf(
                aws_sdk_kms::config::Builder::from(&config)
                    .interceptor(harmless.clone())
                    .build(),
            ),
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            s3_for_machines: aws_sdk_s3::Client::from_conf(s3_for_machines.build()),
            ssm: aws_sdk_ssm::Client::from_conf(ssm),
            sts: aws_sdk_sts::Client::from_conf(sts),
        };
        let spacing = poll_spacing;
        let of = clients.clone();
        let instances = Batcher::start(spacing, move |ids| {
            let clients = of.clone();
            async move { crate::instance::describe(&clients, &ids).await }
        });
        let of = clients.clone();
        let images = Batcher::start(spacing, move |ids| {
            let clients = of.clone();
            async move { crate::image::describe(&clients, &ids).await }
        });
        let of = clients.clone();
        let snapshots = Batcher::start(spacing, move |ids| {
            let clients = of.clone();
            async move { crate::snapshot::describe(&clients, &ids).await }
        });
        Self {
            inner: Arc::new(Shared {
                region,
                endpoint_url: config.endpoint_url().map(str::to_owned),
                config,
                for_machines,
                poll_spacing,
                elsewhere: Mutex::default(),
                credentials,
                clients,
                instances,
                images,
                snapshots,
            }),
        }
    }

    pub fn region(&self) -> &str {
        &self.inner.region
    }

    /// Where the calls go, when that is not AWS's own endpoint of the region.
    pub fn endpoint_url(&self) -> Option<&str> {
        self.inner.endpoint_url.as_deref()
    }

    /// When the credentials end, as far as they say. A provider may well have new
    /// ones by then.
    pub async fn credentials_expiry(&self) -> Result<Option<Timestamp>, Error> {
        let credentials = self
            .inner
            .credentials
            .provide_credentials()
            .await
            .map_err(|error| credentials_error(self.region(), &error))?;
        Ok(credentials
            .expiry()
            .and_then(|at| Timestamp::try_from(at).ok()))
    }

    pub(crate) fn credentials(&self) -> &SharedCredentialsProvider {
        &self.inner.credentials
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.inner.clients
    }

    pub(crate) fn call(&self, operation: &'static str) -> Pending {
        self.inner.clients.call(operation)
    }

    /// The state of an instance now, by a call shared with everybody who asks at the
    /// same time. `None`: EC2 does not know it, or not yet.
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, Error> {
        self.inner.instances.get(id.clone()).await
    }

    /// As [`Gateway::instance`], for an image.
    pub async fn image(&self, id: &ImageId) -> Result<Option<Image>, Error> {
        self.inner.images.get(id.clone()).await
    }

    /// As [`Gateway::instance`], for a snapshot.
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, Error> {
        self.inner.snapshots.get(id.clone()).await
    }
}

async fn load(access: Access) -> Result<SdkConfig, Error> {
    let Access {
        region,
        profile,
        endpoint_url,
        machine_endpoint_url: _,
        credentials,
        roles,
        ask_code,
        limits,
    } = access;
    let app = AppName::new(concat!("forno-", env!("CARGO_PKG_VERSION")))
        .expect("letters, digits, dash and dots are allowed in an application's name");
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .app_name(app)
        .http_client(http_client(endpoint_url.as_deref()))
        .retry_config(RetryConfig::standard().with_max_attempts(limits.attempts))
        .timeout_config(timeouts(&limits));
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = endpoint_url {
        check_endpoint(&url)?;
        loader = loader.endpoint_url(url);
    }
    if let Some(own) = credentials {
        loader = loader.credentials_provider(Credentials::new(
            own.access_key_id,
            own.secret_access_key.expose_secret(),
            own.session_token
                .map(|token| token.expose_secret().to_owned()),
            None,
            "forno",
        ));
    }
    Ok(assume(loader.load().await, roles, ask_code.as_ref()))
}

fn check_endpoint(url: &str) -> Result<(), Error> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(());
    }
    Err(Error::local(
        Kind::Settings,
        "connecting",
        "",
        format!("`{url}` is no endpoint: expected http:// or https://"),
    ))
}

fn timeouts(limits: &Limits) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(limits.attempt_timeout)
        .operation_timeout(limits.operation_timeout)
        .build()
}

/// One connection pool for all services. The proxy of the environment is honoured as
/// everywhere, but never for an endpoint on this machine.
fn http_client(endpoint_url: Option<&str>) -> SharedHttpClient {
    let proxy = if endpoint_url.is_some_and(is_loopback) {
        ProxyConfig::disabled()
    } else {
        ProxyConfig::from_env()
    };
    let connector = Connector::builder()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .proxy_config(proxy)
        .connector_settings(
            HttpConnectorSettings::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .build(),
        )
        .build();
    let connector = SharedHttpConnector::new(connector);
    http_client_fn(move |_, _| connector.clone())
}

fn is_loopback(url: &str) -> bool {
    let authority = url.split("://").nth(1).unwrap_or(url);
    authority.starts_with("127.")
        || authority.starts_with("[::1]")
        || authority == "localhost"
        || authority.starts_with("localhost:")
        || authority.starts_with("localhost/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_bypassed_for_this_machine_only() {
        for url in [
            "http://127.0.0.1:4566",
            "http://[::1]:80/",
            "http://localhost",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "https://ec2.eu-west-1.amazonaws.com",
            "http://localhost.example.com",
            "http://10.127.0.1",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
