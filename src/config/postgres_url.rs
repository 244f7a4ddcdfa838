//! A Postgres URL, read as libpq reads it. It is shown without its password, and requires TLS to other machines.
//!
//! This module turns the URL into plain data, with `PG*` variables for what the URL leaves out. The store connects. `syntax`
//! splits the text, and `parameters` says which parameters are honoured and which are refused.

mod hosts;
mod parameters;
mod passfile;
mod session;
mod syntax;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use self::hosts::Endpoint;
#[cfg(test)]
pub(super) use self::parameters::rules as parameter_rules;

use self::hosts::Place;
use self::parameters::Given;
use super::environment::Environment;
use super::secret::Secret;

/// How long one server may take to accept a connection unless `connect_timeout` sets it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest `connect_timeout`. It also replaces zero and negative values, with which libpq waits for ever.
const LONGEST_CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// libpq treats one second as two, because the clock may be about to tick.
const SHORTEST_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How many prepared statements a connection keeps. The driver has the same default.
const STATEMENT_CACHE_CAPACITY: usize = 100;

/// `postgres://user:password@host:port,host:port/database?parameters`. `Debug` and `Display` hide the password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// The URL as it was written, without the password.
    shown: String,
    places: Vec<Place>,
    user: Option<String>,
    password: Option<Secret>,
    passfile: Option<PathBuf>,
    database: Option<String>,
    application_name: Option<String>,
    options: Vec<(String, String)>,
    connect_timeout: Duration,
    target_session_attrs: TargetSessionAttrs,
    load_balance_hosts: bool,
    tls: Tls,
    statement_cache_capacity: usize,
}

/// Which of several servers is acceptable. The values that ask for a read-only server are refused when the URL is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetSessionAttrs {
    /// Any server that accepts the connection.
    #[default]
    Any,
    /// A server whose sessions can write: neither in recovery nor with `default_transaction_read_only`.
    ReadWrite,
    /// A server that is not in recovery.
    Primary,
}

/// How a connection is encrypted, and how the server proves its identity. Connections over a Unix socket are not encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// What the server must do.
    pub mode: SslMode,
    /// A file of PEM texts: the authorities to trust besides those of the system.
    pub root_cert: Option<PathBuf>,
    /// Files of PEM texts: the client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What the server's TLS must be. libpq's `allow` becomes `Prefer`: neither guarantees encryption, and both connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS, even if the server offers it.
    Disable,
    /// TLS if the server offers it. Its identity is not checked.
    Prefer,
    /// TLS. The identity of the server is not checked.
    Require,
    /// TLS with a certificate that an authority signed, for any host.
    VerifyCa,
    /// TLS with a certificate that an authority signed for the host's name.
    VerifyFull,
}

impl PostgresUrl {
    /// Reads a URL, and the password that was configured `beside` it. The URL may not hold a different one. The error shows
    /// neither.
    pub(super) fn parse(url: &str, environment: &Environment, beside: Option<&Secret>) -> Result<Self, String> {
        let written = syntax::read(url)?;
        let given = Given::collect(&written, environment)?;
        let tls = tls(&given)?;
        let text = |name| given.get(name).map(str::to_owned);
        Ok(Self {
            shown: written.shown,
            places: hosts::places(&given, tls.mode)?,
            user: text("user"),
            password: password(&given, beside)?,
            passfile: passfile::path(&given, environment),
            database: text("dbname"),
            application_name: text("application_name").or_else(|| text("fallback_application_name")),
            options: session::settings(given.get("options").unwrap_or_default())
                .map_err(|problem| given.wrong("options", &problem))?,
            connect_timeout: connect_timeout(&given)?,
            target_session_attrs: target_session_attrs(&given)?,
            load_balance_hosts: load_balance_hosts(&given)?,
            tls,
            statement_cache_capacity: statement_cache_capacity(&given)?,
        })
    }

    /// Refuses a connection to another machine unless the server's certificate is checked for the host's name. The rule
    /// holds for every server of the URL.
    pub(super) fn check_tls(&self) -> Result<(), String> {
        let far = self.places.iter().find_map(Place::far);
        let Some(far) = far.filter(|_| self.tls.mode != SslMode::VerifyFull) else { return Ok(()) };
        Err(format!(
            "`{far}` is not this machine: add `sslmode=verify-full` to the URL's parameters, or write `insecure = \
             true` under `[store]` to send rows and password where others may read them"
        ))
    }

    /// The servers to try, in the order in which they were written. Never empty.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.places.iter().map(Place::endpoint).collect()
    }

    /// The user who logs in. Without one, it is the user of this process.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password with which `user` logs in at `endpoint`: the given one, or else the one in the password file at this
    /// moment.
    pub fn password(&self, endpoint: &Endpoint, user: &str) -> Option<Secret> {
        self.password.clone().or_else(|| {
            let place = self.places.iter().find(|place| place.endpoint() == *endpoint)?;
            let database = self.database.as_deref().unwrap_or(user);
            passfile::password(self.passfile.as_deref()?, &place.in_passfile(), place.port(), database, user)
        })
    }

    /// The database. Without one, it is the database named like the user.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// The name of the sessions, if one is given.
    pub fn application_name(&self) -> Option<&str> {
        self.application_name.as_deref()
    }

    /// The server settings in `options`, in order. A name may occur more than once, and its last value counts.
    pub fn options(&self) -> &[(String, String)] {
        &self.options
    }

    /// How long one server may take to accept a connection, including the login: from 2 to 60 seconds.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Which of several servers is acceptable.
    pub fn target_session_attrs(&self) -> TargetSessionAttrs {
        self.target_session_attrs
    }

    /// Whether each connection tries the servers in a random order.
    pub fn load_balance_hosts(&self) -> bool {
        self.load_balance_hosts
    }

    /// How the connection is encrypted.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// How many prepared statements a connection keeps.
    pub fn statement_cache_capacity(&self) -> usize {
        self.statement_cache_capacity
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The password. One that was configured beside the URL precedes the environment's, which other programs may share.
fn password(given: &Given, beside: Option<&Secret>) -> Result<Option<Secret>, String> {
    let held = given.get("password").map(Secret::new);
    match beside {
        Some(beside) if !given.is_of_environment("password") && held.as_ref().is_some_and(|held| held != beside) => {
            Err("the URL and `store.password` hold different passwords; keep one of them".into())
        }
        Some(beside) => Ok(Some(beside.clone())),
        None => Ok(held),
    }
}

fn tls(given: &Given) -> Result<Tls, String> {
    let root_cert = given.get("sslrootcert");
    let of_the_system = root_cert == Some("system");
    let mode = match given.get("sslmode").map(str::to_ascii_lowercase).as_deref() {
        None if of_the_system => SslMode::VerifyFull,
        None | Some("allow" | "prefer") => SslMode::Prefer,
        Some("disable") => SslMode::Disable,
        // libpq checks the certificate too if there are authorities.
        Some("require") if root_cert.is_some() => SslMode::VerifyCa,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(_) => {
            let modes = "must be `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`";
            return Err(given.wrong("sslmode", modes));
        }
    };
    if of_the_system && mode != SslMode::VerifyFull {
        return Err(given.wrong("sslmode", "must be `verify-full` with `sslrootcert=system`"));
    }
    let client = match (given.get("sslcert"), given.get("sslkey")) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        (Some(_), None) => return Err(given.wrong("sslcert", "needs `sslkey`, the file of its key")),
        (None, Some(_)) => return Err(given.wrong("sslkey", "needs `sslcert`, the file of its certificate")),
    };
    Ok(Tls { mode, root_cert: root_cert.filter(|_| !of_the_system).map(PathBuf::from), client })
}

fn connect_timeout(given: &Given) -> Result<Duration, String> {
    let Some(text) = given.get("connect_timeout") else { return Ok(CONNECT_TIMEOUT) };
    let seconds: i64 =
        text.trim().parse().map_err(|_| given.wrong("connect_timeout", "must be a whole number of seconds"))?;
    let limit = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    Ok(limit.map_or(LONGEST_CONNECT_TIMEOUT, |limit| limit.clamp(SHORTEST_CONNECT_TIMEOUT, LONGEST_CONNECT_TIMEOUT)))
}

fn target_session_attrs(given: &Given) -> Result<TargetSessionAttrs, String> {
    match given.get("target_session_attrs") {
        None | Some("any") => Ok(TargetSessionAttrs::Any),
        Some("read-write") => Ok(TargetSessionAttrs::ReadWrite),
        Some("primary") => Ok(TargetSessionAttrs::Primary),
        Some("read-only" | "standby" | "prefer-standby") => {
            let problem = "asks for a server that takes no writes, and readcast writes; write \
                           `target_session_attrs=read-write`";
            Err(given.wrong("target_session_attrs", problem))
        }
        Some(_) => Err(given.wrong("target_session_attrs", "must be `any`, `read-write` or `primary`")),
    }
}

fn load_balance_hosts(given: &Given) -> Result<bool, String> {
    match given.get("load_balance_hosts") {
        None | Some("disable") => Ok(false),
        Some("random") => Ok(true),
        Some(_) => Err(given.wrong("load_balance_hosts", "must be `disable` or `random`")),
    }
}

fn statement_cache_capacity(given: &Given) -> Result<usize, String> {
    const NAME: &str = "statement-cache-capacity";
    given.get(NAME).map_or(Ok(STATEMENT_CACHE_CAPACITY), |text| {
        text.parse().map_err(|_| given.wrong(NAME, "must be a whole number of statements"))
    })
}
