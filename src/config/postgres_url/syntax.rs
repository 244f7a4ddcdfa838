//! The syntax of a URL (PostgreSQL documentation 34.1.1.2): it becomes the parameters that libpq would read.
//!
//! This module knows neither the parameters nor their meaning. It accepts more than libpq: an `@` within the password, which
//! ends at the last one, and an `=` within a parameter's value.

use crate::config::secret::MASK;

/// The parts of a URL.
pub(super) struct Written {
    /// Names and decoded values, in order. The last value of a name counts.
    pub(super) parameters: Vec<(String, String)>,
    /// Whether an apparent parameter may be the end of a password, which may not be shown.
    pub(super) may_be_a_password: bool,
    /// The URL without its password.
    pub(super) shown: String,
}

/// The parameters whose values are never shown.
const SECRET: [&str; 5] = ["password", "sslkey", "ssl-key", "sslpassword", "oauth_client_secret"];

/// Splits `url`. The error never shows it.
pub(super) fn read(url: &str) -> Result<Written, String> {
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let Some(rest) = rest else { return Err("must be `postgres://…` or `sqlite:PATH`".into()) };
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("holds a space; write it as %20".into());
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // The apparent database or parameter may be the end of a password, and would be shown.
    let may_be_a_password = query.contains('@');
    if path.contains('@') || (path.is_empty() && may_be_a_password) {
        return Err("holds a `/` or `?` before an `@`; write them as %2F, %3F and %40".into());
    }
    let (credentials, addresses) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (hosts, ports) = addresses_of(addresses)?;
    let database = path.strip_prefix('/').unwrap_or_default();
    let mut parameters = Vec::new();
    for (name, value) in
        [("user", user), ("password", password), ("host", &hosts), ("port", &ports), ("dbname", database)]
    {
        if !value.is_empty() {
            parameters.push((name.to_owned(), decode(value)?));
        }
    }
    let mut shown = format!("postgres://{user}");
    if !password.is_empty() {
        shown.push_str(&format!(":{MASK}"));
    }
    if !credentials.is_empty() {
        shown.push('@');
    }
    shown.push_str(&format!("{addresses}{path}"));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = parameter(pair)?;
        let written = if SECRET.contains(&name.as_str()) { MASK } else { value };
        shown.push_str(&format!("{}{name}={written}", if shown.contains('?') { '&' } else { '?' }));
        parameters.push((name, decode(value)?));
    }
    Ok(Written { parameters, may_be_a_password, shown })
}

/// The name of a parameter, and its value as written.
fn parameter(pair: &str) -> Result<(String, &str), String> {
    let Some((name, value)) = pair.split_once('=') else { return Err("has a parameter without a `=`".into()) };
    Ok((decode(name)?, value))
}

/// Hosts and ports, each joined by commas. Both lists have an entry for each address, which is empty where the address
/// leaves it out.
fn addresses_of(text: &str) -> Result<(String, String), String> {
    let addresses = text.split(',').map(address).collect::<Result<Vec<_>, _>>()?;
    let (hosts, ports): (Vec<_>, Vec<_>) = addresses.into_iter().unzip();
    Ok((hosts.join(","), ports.join(",")))
}

/// The host and the port of `host`, `host:port`, `[address]` or `[address]:port`.
fn address(text: &str) -> Result<(&str, &str), String> {
    let Some(bracketed) = text.strip_prefix('[') else { return Ok(text.split_once(':').unwrap_or((text, ""))) };
    let Some((host, rest)) = bracketed.split_once(']') else { return Err("has a `[` without its `]`".into()) };
    if host.is_empty() {
        return Err("has no address between `[` and `]`".into());
    }
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if rest.is_empty() => Ok((host, "")),
        None => Err("has something other than a port behind a `]`".into()),
    }
}

/// The text with each `%XX` decoded.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let Some((hex, after)) = after.split_at_checked(2).filter(|(hex, _)| hex.iter().all(u8::is_ascii_hexdigit))
        else {
            return Err("has a `%` without two hexadecimal digits; write a `%` as %25".into());
        };
        match std::str::from_utf8(hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if byte != 0 => bytes.push(byte),
            _ => return Err("holds %00, which Postgres does not accept".into()),
        }
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 once its %XX are decoded".into())
}
