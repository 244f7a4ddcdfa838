//! The admin server: HTTP for probes, Prometheus and people. It shows health and metrics, and changes nothing.
//!
//! | route | answers | needs the token |
//! |---|---|---|
//! | `GET /livez` | 200 while the process makes progress, else 503 | no |
//! | `GET /readyz` | 200 while every projection works, else 503; the state of each | no |
//! | `GET /readyz?verbose` | the same with reasons, which may quote a record | yes |
//! | `GET /metrics` | OpenMetrics text | yes |
//!
//! A token is required where one is configured. It has to be configured unless the server listens on this machine alone.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::SecretSource;
use crate::health::{Detail, Health};
use crate::metrics::Metrics;

/// How long open requests may continue after the server is stopped.
const GRACE: Duration = Duration::from_secs(2);

/// The server can't listen on its address.
#[derive(Debug, thiserror::Error)]
#[error("the admin server can't listen on {listen}: {error}")]
pub(crate) struct BindError {
    listen: SocketAddr,
    error: io::Error,
}

#[derive(Clone)]
struct Admin {
    health: Health,
    metrics: Metrics,
    token: Option<SecretSource>,
}

/// Binds the address, so that a conflict is found before anything starts.
pub(crate) async fn bind(listen: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(listen).await.map_err(|error| BindError { listen, error })
}

/// The routes of the admin server.
pub(crate) fn router(health: Health, metrics: Metrics, token: Option<SecretSource>) -> Router {
    let admin = Admin { health, metrics, token };
    let guarded = Router::new()
        .route("/metrics", get(metrics_text))
        .route_layer(from_fn_with_state(admin.clone(), require_token));
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .merge(guarded)
        .layer(from_fn(with_headers))
        .with_state(admin)
}

/// Serves until `shutdown` is cancelled, and up to two seconds longer for open requests.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving.into_future() => served,
        () = overdue => Ok(()),
    }
}

async fn livez(State(admin): State<Admin>) -> Response {
    verdict(admin.health.liveness())
}

async fn readyz(
    State(admin): State<Admin>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if !query.contains_key("verbose") {
        return verdict(admin.health.readiness(Detail::Brief));
    }
    if !admin.allows(&headers) {
        return unauthorized();
    }
    verdict(admin.health.readiness(Detail::Verbose))
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], admin.metrics.encode())
}

fn verdict(verdict: Result<String, String>) -> Response {
    match verdict {
        Ok(text) => text.into_response(),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
    }
}

async fn require_token(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    if admin.allows(request.headers()) { next.run(request).await } else { unauthorized() }
}

fn unauthorized() -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, "present the admin token: `Authorization: Bearer …`\n").into_response()
}

impl Admin {
    /// Whether the caller presents the right token, if one is required. No token is right while its file can't be read.
    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let presented = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(bearer);
        let Some(presented) = presented else { return false };
        match token.current() {
            Ok(token) => same(presented, token.expose().as_bytes()),
            Err(problem) => {
                tracing::warn!("the admin server refused a request, because its token can't be read: {problem}");
                false
            }
        }
    }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Compares digests in full, so that the time reveals neither the length nor a matching prefix.
fn same(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(b.iter()).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in fixed {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::config::Secret;
    use crate::health::State as ProjectionState;

    struct Answer {
        status: u16,
        head: String,
        body: String,
    }

    /// Serves `router` for one request.
    async fn ask(router: Router, path: &str, authorization: Option<&str>) -> Answer {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let asking = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let header = authorization.map(|value| format!("authorization: {value}\r\n")).unwrap_or_default();
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            shutdown.cancel();
            answer
        };
        let (served, answer) = tokio::join!(serve(listener, router, shutdown.clone()), asking);
        served.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer { status: head[9..12].parse().unwrap(), head: head.to_ascii_lowercase(), body: body.into() }
    }

    fn with(token: Option<&str>) -> (Health, Router) {
        let metrics = Metrics::new();
        let health = Health::new(&metrics, ["orders"]);
        (health.clone(), router(health, metrics, token.map(|token| SecretSource::Fixed(Secret::new(token)))))
    }

    #[tokio::test]
    async fn a_halted_projection_is_alive_and_not_ready() {
        let (health, router) = with(None);
        health.set("orders", ProjectionState::Halted { reason: "poison".into(), advice: "fix it".into() });
        assert_eq!(ask(router.clone(), "/livez", None).await.status, 200);
        let ready = ask(router.clone(), "/readyz", None).await;
        assert_eq!((ready.status, ready.body.as_str()), (503, "not ready\norders: halted\n"));
        let verbose = ask(router, "/readyz?verbose", None).await;
        assert!(verbose.body.ends_with(": poison. Next: fix it\n"), "{}", verbose.body);
        assert!(verbose.head.contains("content-type: text/plain; charset=utf-8"), "{}", verbose.head);
    }

    #[tokio::test]
    async fn metrics_are_open_metrics() {
        let (_, router) = with(None);
        let answer = ask(router, "/metrics", None).await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
        assert!(answer.head.contains("x-content-type-options: nosniff"));
        assert!(answer.body.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn the_token_is_required_for_reasons_and_metrics() {
        let (health, router) = with(Some("hunter2"));
        health.set("orders", ProjectionState::Running);
        let mut statuses = Vec::new();
        for path in ["/livez", "/readyz", "/readyz?verbose", "/metrics"] {
            for authorization in [None, Some("Bearer hunter"), Some("Basic hunter2"), Some("bearer hunter2")] {
                statuses.push(ask(router.clone(), path, authorization).await.status);
            }
        }
        let (open, guarded) = ([200; 4], [401, 401, 401, 200]);
        assert_eq!(statuses, [open, open, guarded, guarded].concat());
    }

    #[tokio::test]
    async fn a_token_in_a_file_is_read_again_for_each_request() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metrics = Metrics::new();
        let router =
            router(Health::new(&metrics, ["orders"]), metrics, Some(SecretSource::File(file.path().to_owned())));
        let mut statuses = Vec::new();
        for token in ["old\n", "new\n", ""] {
            std::fs::write(file.path(), token).unwrap();
            for authorization in ["Bearer old", "Bearer new", "Bearer "] {
                statuses.push(ask(router.clone(), "/metrics", Some(authorization)).await.status);
            }
        }
        assert_eq!(statuses, [200, 401, 401, 401, 200, 401, 401, 401, 401]);
    }

    #[tokio::test]
    async fn an_unknown_path_is_not_found() {
        let (_, router) = with(Some("hunter2"));
        assert_eq!(ask(router, "/secrets", None).await.status, 404);
    }

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_delay_the_shutdown() {
        let (listener, shutdown) = (bind("127.0.0.1:0".parse().unwrap()).await.unwrap(), CancellationToken::new());
        let address = listener.local_addr().unwrap();
        let asked = shutdown.clone();
        let endless = move || async move {
            asked.cancel();
            std::future::pending::<()>().await;
        };
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let serving = serve(listener, Router::new().route("/", get(endless)), shutdown);
        assert!(tokio::time::timeout(GRACE * 5, serving).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_taken_address_is_one_clear_line() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("the admin server can't listen on {address}: ")), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}
