//! Questions to a registry over HTTP.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use reqwest::{StatusCode, Url};
use rustls::crypto::ring;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{FetchError, SchemaId, SchemaText};
use crate::config::SecretSource;

/// How long the connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a whole answer may take.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// The largest answer that is read, in bytes.
const MOST_BYTES: usize = 32 << 20;
/// How many schemas one schema may refer to, also indirectly.
const MOST_REFERENCES: usize = 1_000;

/// What a registry is asked with, if it knows its callers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    /// For basic authentication.
    pub(crate) username: Option<String>,
    /// The password for it.
    pub(crate) password: Option<SecretSource>,
    /// A bearer token.
    pub(crate) token: Option<SecretSource>,
}

/// A client of one registry.
pub(crate) struct Client {
    http: reqwest::Client,
    url: Url,
    credentials: Credentials,
}

/// The answer to a question for a schema.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    schema: String,
    /// Avro if it is missing.
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Clone, Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

impl Client {
    /// A client of the registry at `url`, which trusts the authorities in the PEM file `ca` beside those of the system.
    ///
    /// # Errors
    /// What is wrong with the URL or the file.
    pub(crate) fn new(url: &str, ca: Option<&[u8]>, credentials: Credentials) -> Result<Self, String> {
        // Fails where a provider is installed already, which is then used.
        let _ = ring::default_provider().install_default();
        let mut url: Url = format!("{}/", url.trim_end_matches('/')).parse().map_err(|error| format!("{error}"))?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err("it must begin with `http://` or `https://`".into());
        }
        let mut credentials = credentials;
        if !url.username().is_empty() {
            credentials.username.get_or_insert(url.username().to_owned());
            let password = url.password().map(|password| SecretSource::Fixed(crate::config::Secret::new(password)));
            credentials.password = credentials.password.or(password);
        }
        // Errors name the URL.
        let _ = (url.set_username(""), url.set_password(None));
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_LIMIT).timeout(ANSWER_LIMIT);
        if let Some(ca) = ca {
            let certificates = reqwest::Certificate::from_pem_bundle(ca).map_err(|error| format!("{error}"))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(|error| format!("no HTTP client: {}", chain(&error)))?;
        Ok(Self { http, url, credentials })
    }

    /// The text of a schema, with all to which it refers.
    pub(super) async fn fetch(&self, id: SchemaId) -> Result<SchemaText, FetchError> {
        let path = match id {
            SchemaId::Number(number) => format!("schemas/ids/{number}"),
            SchemaId::Global(id) => format!("schemas/guids/{id}"),
        };
        let answer: Answer = self.get(&[&path]).await?;
        let references = self.references(answer.references).await?;
        Ok(SchemaText { kind: answer.schema_type.unwrap_or_else(|| "AVRO".into()), text: answer.schema, references })
    }

    /// Asks for the types of schemas that the registry takes.
    pub(super) async fn check(&self) -> Result<String, String> {
        match self.get::<Vec<String>>(&["schemas/types"]).await {
            Ok(types) => Ok(format!("{} answers; it takes {}", self.url, types.join(", "))),
            Err(FetchError::Unavailable(reason)) => Err(reason),
            Err(FetchError::Unknown) => Err(format!("{}: no schema registry is at this path", self.url)),
        }
    }

    /// The texts of the schemas to which these references lead, the referred ones first.
    async fn references(&self, first: Vec<Reference>) -> Result<Vec<(String, String)>, FetchError> {
        let (mut open, mut seen, mut texts) = (first, BTreeSet::new(), Vec::new());
        while let Some(Reference { name, subject, version }) = open.pop() {
            if !seen.insert((subject.clone(), version)) {
                continue;
            }
            if seen.len() > MOST_REFERENCES {
                return Err(self.unavailable(format!("a schema refers to more than {MOST_REFERENCES} others")));
            }
            let answer: Answer = self.get(&["subjects", &subject, "versions", &version.to_string()]).await?;
            open.extend(answer.references);
            texts.push((name, answer.schema));
        }
        texts.reverse();
        Ok(texts)
    }

    /// The JSON answer at a path. The first segment may hold several.
    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, FetchError> {
        let mut url = self.url.join(path[0]).map_err(|error| self.unavailable(error))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(&path[1..]);
        }
        let mut request =
            self.http.get(url.clone()).header("Accept", "application/vnd.schemaregistry.v1+json, application/json");
        let Credentials { username, password, token } = &self.credentials;
        let current = |secret: &Option<SecretSource>| secret.as_ref().map(SecretSource::current).transpose();
        if let Some(token) = current(token).map_err(|error| self.unavailable(error))? {
            request = request.bearer_auth(token.expose());
        } else if let Some(username) = username {
            let password = current(password).map_err(|error| self.unavailable(error))?;
            request = request.basic_auth(username, password.as_ref().map(|password| password.expose()));
        }
        let failed = |error: reqwest::Error| FetchError::Unavailable(format!("{url}: {}", chain(&error.without_url())));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BYTES {
                return Err(FetchError::Unavailable(format!("{url}: the answer has more than {MOST_BYTES} bytes")));
            }
        }
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| {
                FetchError::Unavailable(format!("{url}: the answer is not that of a schema registry: {error}"))
            }),
            // Only a registry that answers in its own words has no such schema: a proxy may know no such path.
            StatusCode::NOT_FOUND if is_refusal(&body) => Err(FetchError::Unknown),
            status => Err(FetchError::Unavailable(format!("{url}: the answer is {status}"))),
        }
    }

    fn unavailable(&self, reason: impl fmt::Display) -> FetchError {
        FetchError::Unavailable(format!("{}: {reason}", self.url))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.url.as_str()).finish()
    }
}

/// Whether the body of an answer is an error of a registry.
fn is_refusal(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(rename = "error_code")]
        _code: i64,
    }
    serde_json::from_slice::<Refusal>(body).is_ok()
}

/// The error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
