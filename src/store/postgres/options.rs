//! Converts a URL into the driver's connect options.

use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::{Postgres, Route, server};
use crate::config::{Endpoint, PostgresUrl, PostgresUrlSource, SslMode, TargetSessionAttrs};

impl Postgres {
    /// The database of `url`, with the readers' views in `schema`. The URL is read again for each connection.
    pub fn of_url(url: PostgresUrlSource, schema: impl Into<String>) -> Self {
        Self::by(Arc::new(move || url.current().and_then(|url| route(&url))), schema)
    }
}

/// The servers in the order of the attempts.
fn route(url: &PostgresUrl) -> Result<Route, String> {
    if let Some((name, _)) = url.options().iter().find(|(name, _)| server::is_fixed(name)) {
        return Err(format!("the URL's `options` set `{name}`, which readcast sets itself: remove it"));
    }
    let mut endpoints: Vec<_> = url.endpoints().iter().map(|endpoint| of(url, endpoint)).collect();
    if url.load_balance_hosts() {
        fastrand::shuffle(&mut endpoints);
    }
    // Of several servers, one is writable and the others are its standbys.
    let writable = endpoints.len() > 1 || url.target_session_attrs() != TargetSessionAttrs::Any;
    Ok(Route { endpoints, connect_timeout: url.connect_timeout(), writable })
}

/// The driver's options for `endpoint`. The driver reads `PG*` variables by itself. `url` already contains their values
/// and overrides them.
pub(super) fn of(url: &PostgresUrl, endpoint: &Endpoint) -> PgConnectOptions {
    let mut options = PgConnectOptions::new_without_pgpass()
        .statement_cache_capacity(url.statement_cache_capacity())
        .options(url.options().iter().map(|(name, value)| (name, value)));
    if let Some(user) = url.user() {
        options = options.username(user);
    }
    if let Some(password) = url.password(endpoint, options.get_username()) {
        options = options.password(password.expose());
    }
    if let Some(database) = url.database() {
        options = options.database(database);
    }
    if let Some(name) = url.application_name() {
        options = options.application_name(name);
    }
    match endpoint {
        Endpoint::Tcp { host, port } => with_tls(options.host(host).port(*port), url),
        // A socket has no TLS. With a TLS mode, the driver would fail.
        Endpoint::Socket { directory, port } => options.socket(directory).port(*port).ssl_mode(PgSslMode::Disable),
    }
}

fn with_tls(options: PgConnectOptions, url: &PostgresUrl) -> PgConnectOptions {
    let tls = url.tls();
    let options = options.ssl_mode(match tls.mode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    });
    let options = match &tls.root_cert {
        Some(path) => options.ssl_root_cert(path),
        // Only the system's authorities, even if an environment variable names a file.
        None => options.ssl_root_cert_from_pem(Vec::new()),
    };
    match &tls.client {
        Some((certificate, key)) => options.ssl_client_cert(certificate).ssl_client_key(key),
        None => options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Overrides, StoreOptions};

    fn options(url: &str) -> Vec<PgConnectOptions> {
        let flags = Overrides { store: Some(url.to_owned()), ..Overrides::default() };
        let config = Config::load(&flags, &Environment::default(), &[]).unwrap();
        let StoreOptions::Postgres { url, .. } = config.store().unwrap() else { panic!("{url} is one of Postgres") };
        let url = url.current().unwrap();
        url.endpoints().iter().map(|endpoint| of(&url, endpoint)).collect()
    }

    #[test]
    fn each_endpoint_gets_the_options_of_the_url() {
        let parameters = "options=-c%20geqo%3Doff%20-c%20a.b%3Dc%5C%20d&application_name=name&sslmode=verify-full";
        let made = options(&format!("postgres://app:x@[::1]:1,db.example,%2Fsrv%2Fpg:3/shop?{parameters}"));
        let reached: Vec<_> = made.iter().map(|made| (made.get_host(), made.get_port(), made.get_socket())).collect();
        assert_eq!(reached[..2], [("::1", 1, None), ("db.example", 5432, None)]);
        assert_eq!((reached[2].1, reached[2].2), (3, Some(&"/srv/pg".into())));
        for made in &made {
            assert_eq!((made.get_username(), made.get_database()), ("app", Some("shop")));
            assert_eq!(made.get_application_name(), Some("name"));
            assert!(made.get_options().unwrap().ends_with(r"-c geqo=off -c a.b=c\ d"), "{made:?}");
        }
        let modes: Vec<_> = made.iter().map(|made| format!("{:?}", made.get_ssl_mode())).collect();
        assert_eq!(modes, ["VerifyFull", "VerifyFull", "Disable"]);
    }
}
