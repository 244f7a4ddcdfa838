//! A Postgres URL: shown without its password, and held to TLS once it leaves this machine.
//!
//! Connecting is the store's. What is read here is only what the two rules need: hosts, parameters, and what to hide.

use std::fmt;
use std::net::IpAddr;

use super::environment::Environment;
use super::secret::MASK;

/// `postgres://user:password@host:port/database?parameters`. `Debug` and `Display` hide the password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    url: String,
    user: String,
    has_password: bool,
    host: String,
    /// Host and port, as written.
    address: String,
    /// With the slash before it.
    database: String,
    parameters: Vec<(String, String)>,
}

/// What the Postgres client takes. It ignores anything else, and logs the value of what it ignores.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

impl PostgresUrl {
    /// The whole URL, password and all.
    pub fn expose(&self) -> &str {
        &self.url
    }

    /// Reads a URL. The error never shows it.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let Some(rest) = rest else { return Err("must be `postgres://…` or `sqlite:PATH`".into()) };
        if url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            return Err("holds a space or a `#`; write it as %20 or %23".into());
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // What is taken for the database or a parameter here may be the end of a password, and would be shown.
        if rest.contains('@') {
            return Err("holds a `/` or `?` before an `@`; write them as %2F, %3F and %40".into());
        }
        let (database, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let parameters: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).map(parameter).collect();
        if let Some((name, _)) = parameters.iter().find(|(name, _)| !PARAMETERS.contains(&name.as_str())) {
            return Err(format!("the URL's parameter `{}` is not one that is known", name.escape_debug()));
        }
        Ok(Self {
            url: url.to_owned(),
            user: user.to_owned(),
            has_password: !password.is_empty(),
            host: host(address)?.to_owned(),
            address: address.to_owned(),
            database: database.to_owned(),
            parameters,
        })
    }

    /// Refuses a connection that leaves this machine without a server certificate checked for its host's name.
    pub(super) fn check_tls(&self, environment: &Environment) -> Result<(), String> {
        let hosts = self.hosts(environment);
        let Some(far) = hosts.iter().find(|host| !is_local(host)) else { return Ok(()) };
        if self.sslmode(environment).is_some_and(|mode| mode.eq_ignore_ascii_case("verify-full")) {
            return Ok(());
        }
        Err(format!(
            "`{far}` is not this machine: add `sslmode=verify-full` to the URL's parameters, or write `insecure = \
             true` under `[store]` to send rows and password where others may read them"
        ))
    }

    /// Every host that is named, so that all of them are held to the rule, whichever the client picks.
    fn hosts(&self, environment: &Environment) -> Vec<String> {
        let in_url = (!self.host.is_empty()).then(|| decode(&self.host));
        let named = self.parameters.iter().filter(|(name, _)| name.starts_with("host")).map(|(_, host)| host.clone());
        let hosts: Vec<String> = in_url.into_iter().chain(named).collect();
        if !hosts.is_empty() {
            return hosts;
        }
        ["PGHOSTADDR", "PGHOST"].iter().filter_map(|name| environment.get(name)).map(str::to_owned).collect()
    }

    /// The last one counts, as for the client.
    fn sslmode<'a>(&'a self, environment: &'a Environment) -> Option<&'a str> {
        let named = self.parameters.iter().rev().find(|(name, _)| matches!(name.as_str(), "sslmode" | "ssl-mode"));
        named.map(|(_, mode)| mode.as_str()).or_else(|| environment.get("PGSSLMODE"))
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}", self.user)?;
        if self.has_password {
            write!(f, ":{MASK}")?;
        }
        let at = if self.user.is_empty() && !self.has_password { "" } else { "@" };
        write!(f, "{at}{}{}", self.address, self.database)?;
        for (place, (name, value)) in self.parameters.iter().enumerate() {
            let shown = if matches!(name.as_str(), "password" | "sslkey" | "ssl-key") { MASK } else { value };
            write!(f, "{}{name}={shown}", if place == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The host of `host:port`, `host` or `[address]:port`.
fn host(address: &str) -> Result<&str, String> {
    match address.rsplit_once(':') {
        Some(_) if address.ends_with(']') => Ok(address),
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => Ok(host),
        // Not shown: without its `@`, a password stands here.
        Some(_) => Err("has a port that is not a number".into()),
        None => Ok(address),
    }
}

fn parameter(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (decode(name), decode(value))
}

/// Without the `%XX` of a URL.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A Unix socket, or an address of this machine.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(url: &str, environment: &[(&str, &str)]) -> Result<(), String> {
        PostgresUrl::parse(url).unwrap().check_tls(&environment.iter().copied().collect())
    }

    #[test]
    fn the_password_is_hidden_wherever_it_stands() {
        let url = "postgres://app:hunter2@db.example:5432/shop?sslmode=verify-full&password=hunter2&sslkey=hunter2";
        let shown = "postgres://app:***@db.example:5432/shop?sslmode=verify-full&password=***&sslkey=***";
        let parsed = PostgresUrl::parse(url).unwrap();
        assert_eq!([parsed.to_string(), format!("{parsed:?}")], [shown; 2]);
        assert_eq!(parsed.expose(), url);
    }

    #[test]
    fn a_password_with_an_at_sign_is_hidden_whole() {
        let parsed = PostgresUrl::parse("postgres://app:hun@ter:2@localhost/shop").unwrap();
        assert_eq!(parsed.to_string(), "postgres://app:***@localhost/shop");
    }

    #[test]
    fn this_machine_needs_no_tls() {
        let urls = [
            "postgres://localhost/shop",
            "postgres://app:x@127.0.0.1:5432/shop",
            "postgres://[::1]:5432/shop",
            "postgres://%2Fvar%2Frun%2Fpostgresql/shop",
            "postgres:///shop?host=/var/run/postgresql",
            "postgres:///shop",
        ];
        assert_eq!(urls.map(|url| tls(url, &[])), urls.map(|_| Ok(())));
    }

    #[test]
    fn another_machine_needs_a_verified_certificate() {
        let modes = ["", "?sslmode=disable", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-ca"];
        assert!(modes.iter().all(|mode| tls(&format!("postgres://db.example/shop{mode}"), &[]).is_err()));
        assert_eq!(tls("postgres://db.example/shop?sslmode=verify-full", &[]), Ok(()));
        assert_eq!(tls("postgres://db.example/shop?ssl-mode=VERIFY-FULL", &[]), Ok(()));
    }

    #[test]
    fn no_way_of_naming_a_host_escapes_the_rule() {
        let urls = [
            "postgres://localhost/shop?host=db.example",
            "postgres://localhost/shop?%68ostaddr=192.0.2.1",
            "postgres://localhost@db.example/shop",
            "postgres://127.0.0.1,db.example/shop",
            "postgres://db.example/shop?sslmode=verify-full&%73slmode=disable",
        ];
        assert!(urls.iter().all(|url| tls(url, &[]).is_err()));
        assert!(tls("postgres:///shop", &[("PGHOST", "db.example")]).is_err());
        assert_eq!(tls("postgres:///shop", &[("PGHOST", "db.example"), ("PGSSLMODE", "verify-full")]), Ok(()));
    }

    #[test]
    fn an_error_never_shows_the_url() {
        let broken = [
            "hunter2",
            "mysql://app:hunter2@db/shop",
            "postgres://app:hunter2@db/a b",
            "postgres://app:hunter2",
            "postgres://app:x/hunter2@db/shop",
            "postgres://app:x?hunter2=@db/shop",
            "postgres://db/shop?sslpassword=hunter2",
        ];
        assert!(broken.iter().all(|url| !PostgresUrl::parse(url).unwrap_err().contains("hunter2")));
        assert!(!tls("postgres://app:hunter2@db/shop", &[]).unwrap_err().contains("hunter2"));
    }
}
