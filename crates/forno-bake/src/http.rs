//! One plain GET, for the one question that is asked of the web: where this
//! machine comes from.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// More than an address ever takes.
const LONGEST: usize = 4096;

/// The body of a successful answer, as text.
pub(crate) async fn get_text(url: &str) -> Result<String, String> {
    let uri: http::Uri = url
        .parse()
        .map_err(|error| format!("`{url}` is no URL: {error}"))?;
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|error| format!("no root certificates: {error}"))?
        .https_or_http()
        .enable_http1()
        .build();
    let client: Client<_, Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector);
    let answer = client.get(uri).await.map_err(|error| {
        let source = std::error::Error::source(&error);
        source.map_or_else(|| error.to_string(), ToString::to_string)
    })?;
    if !answer.status().is_success() {
        return Err(format!("it answers {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), LONGEST)
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    String::from_utf8(body.to_bytes().to_vec()).map_err(|_| "it answers no text".to_owned())
}
