//! Every parameter of libpq (PostgreSQL documentation 34.1.2, up to version 18). Each one is honoured, or refused with
//! what to write instead. None is ignored.

use std::collections::BTreeMap;

use super::syntax::Written;
use crate::config::environment::Environment;
use crate::config::error::unknown;

/// One of libpq's parameters.
struct Parameter {
    name: &'static str,
    /// The variable that gives the value if the URL does not.
    variable: Option<&'static str>,
    rule: Rule,
}

enum Rule {
    /// The code that reads it by its name honours it.
    Honoured,
    /// These values describe what readcast does anyway. Any other is refused: the reason, and what to write instead.
    Only(&'static [&'static str], &'static str),
}

use Rule::{Honoured, Only};

const fn of(name: &'static str, rule: Rule) -> Parameter {
    Parameter { name, variable: None, rule }
}

const fn or(variable: &'static str, name: &'static str, rule: Rule) -> Parameter {
    Parameter { name, variable: Some(variable), rule }
}

const NO_GSSAPI: &str =
    "readcast does not log in by GSSAPI: leave it out, and log in with a password or a client certificate";
const NO_OAUTH: &str =
    "readcast does not log in by OAuth: leave it out, and log in with a password or a client certificate";
const NO_SERVICE: &str = "readcast reads no service file: write into the URL what it says";
const NO_CRL: &str = "readcast checks no revocation lists: leave it out";
const OWN_LIMITS: &str = "readcast has limits of its own for a server that falls silent: leave it out";
const SWITCH: &[&str] = &["0", "1"];

const PARAMETERS: &[Parameter] = &[
    or("PGAPPNAME", "application_name", Honoured),
    or(
        "PGCHANNELBINDING",
        "channel_binding",
        Only(
            &["disable", "prefer"],
            "readcast can't bind the login to the TLS channel: write `sslmode=verify-full`, by which the server proves who it \
             is, and leave it out",
        ),
    ),
    // No variable: it says which encoding other programs display.
    of(
        "client_encoding",
        Only(
            &["UTF8", "utf8", "UTF-8", "utf-8"],
            "readcast speaks UTF-8 whatever the database's encoding: leave it out",
        ),
    ),
    or("PGCONNECT_TIMEOUT", "connect_timeout", Honoured),
    or("PGDATABASE", "dbname", Honoured),
    of("fallback_application_name", Honoured),
    or("PGGSSDELEGATION", "gssdelegation", Only(&["0"], NO_GSSAPI)),
    or(
        "PGGSSENCMODE",
        "gssencmode",
        Only(
            &["disable", "prefer"],
            "readcast does not encrypt by GSSAPI: write `sslmode=verify-full`, and leave it out",
        ),
    ),
    or("PGGSSLIB", "gsslib", Only(&[], NO_GSSAPI)),
    or("PGHOST", "host", Honoured),
    or("PGHOSTADDR", "hostaddr", Honoured),
    of("keepalives", Only(&["1"], OWN_LIMITS)),
    of("keepalives_count", Only(&[], OWN_LIMITS)),
    of("keepalives_idle", Only(&[], OWN_LIMITS)),
    of("keepalives_interval", Only(&[], OWN_LIMITS)),
    or("PGKRBSRVNAME", "krbsrvname", Only(&["postgres"], NO_GSSAPI)),
    or("PGLOADBALANCEHOSTS", "load_balance_hosts", Honoured),
    or(
        "PGMAXPROTOCOLVERSION",
        "max_protocol_version",
        Only(&["3.0", "3.2", "latest"], "readcast speaks version 3.0: leave it out"),
    ),
    or("PGMINPROTOCOLVERSION", "min_protocol_version", Only(&["3.0"], "readcast speaks version 3.0: leave it out")),
    of("oauth_client_id", Only(&[], NO_OAUTH)),
    of("oauth_client_secret", Only(&[], NO_OAUTH)),
    of("oauth_issuer", Only(&[], NO_OAUTH)),
    of("oauth_scope", Only(&[], NO_OAUTH)),
    or("PGOPTIONS", "options", Honoured),
    or("PGPASSFILE", "passfile", Honoured),
    or("PGPASSWORD", "password", Honoured),
    or("PGPORT", "port", Honoured),
    of("replication", Only(&["false", "off", "no", "0"], "readcast opens ordinary sessions: leave it out")),
    or(
        "PGREQUIREAUTH",
        "require_auth",
        Only(
            &[],
            "readcast logs in however the server asks: leave it out, let the server's pg_hba.conf say it, and write \
             `sslmode=verify-full` against a false server",
        ),
    ),
    or(
        "PGREQUIREPEER",
        "requirepeer",
        Only(
            &[],
            "readcast does not ask who owns a socket: leave it out, and name a directory that only the server writes to",
        ),
    ),
    of("scram_client_key", Only(&[], "readcast logs in with the password itself: leave it out, and give that")),
    of("scram_server_key", Only(&[], "readcast logs in with the password itself: leave it out, and give that")),
    or("PGSERVICE", "service", Only(&[], NO_SERVICE)),
    of("servicefile", Only(&[], NO_SERVICE)),
    of("ssl", Only(&[], "write `sslmode=disable`, `sslmode=require` or `sslmode=verify-full`")),
    or("PGSSLCERT", "sslcert", Honoured),
    or(
        "PGSSLCERTMODE",
        "sslcertmode",
        Only(
            &["allow"],
            "readcast shows a certificate to a server that asks for one: leave it out, and `sslcert` too to show none",
        ),
    ),
    or("PGSSLCOMPRESSION", "sslcompression", Only(SWITCH, "leave it out: no server compresses any more")),
    or("PGSSLCRL", "sslcrl", Only(&[], NO_CRL)),
    or("PGSSLCRLDIR", "sslcrldir", Only(&[], NO_CRL)),
    or("PGSSLKEY", "sslkey", Honoured),
    of("sslkeylogfile", Only(&[], "readcast writes no key of a session into a file: leave it out")),
    or(
        "PGSSLMAXPROTOCOLVERSION",
        "ssl_max_protocol_version",
        Only(&["TLSv1.3"], "readcast speaks TLS 1.2 and 1.3: leave it out"),
    ),
    or(
        "PGSSLMINPROTOCOLVERSION",
        "ssl_min_protocol_version",
        Only(
            &["TLSv1", "TLSv1.1", "TLSv1.2"],
            "readcast speaks TLS 1.2 and 1.3: leave it out, and set the minimum at the server",
        ),
    ),
    or("PGSSLMODE", "sslmode", Honoured),
    or(
        "PGSSLNEGOTIATION",
        "sslnegotiation",
        Only(&["postgres"], "readcast asks for TLS as every server since 7.1 knows it: leave it out"),
    ),
    of(
        "sslpassword",
        Only(&[], "readcast can't decrypt a key: `openssl pkey -in KEY -out PLAIN`, and name that by `sslkey`"),
    ),
    or("PGSSLROOTCERT", "sslrootcert", Honoured),
    or("PGSSLSNI", "sslsni", Only(&["1"], "readcast names the host when it asks for TLS: leave it out")),
    of("statement-cache-capacity", Honoured),
    or("PGTARGETSESSIONATTRS", "target_session_attrs", Honoured),
    of("tcp_user_timeout", Only(&[], OWN_LIMITS)),
    or("PGUSER", "user", Honoured),
];

/// The names that other drivers use, and libpq's.
const ALIASES: &[(&str, &str)] = &[
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
];

/// Every parameter with its variable and, as Markdown, what readcast does with it.
#[cfg(test)]
pub(in crate::config) fn rules() -> Vec<(&'static str, Option<&'static str>, String)> {
    let rule = |parameter: &Parameter| match parameter.rule {
        Honoured => "honoured".to_owned(),
        Only([], why) => format!("refused: {why}"),
        Only(values, why) => format!("only `{}`; {why}", values.join("`, `")),
    };
    PARAMETERS.iter().map(|parameter| (parameter.name, parameter.variable, rule(parameter))).collect()
}

/// The given parameters by libpq's name, from the URL or else from variables.
pub(super) struct Given(BTreeMap<&'static str, Value>);

struct Value {
    text: String,
    /// The variable that gave the value, if one did.
    variable: Option<&'static str>,
}

impl Given {
    /// The last value of each name that was `written`, or else the variable's. Refuses what can't be honoured. The error
    /// shows no value.
    pub(super) fn collect(written: &Written, environment: &Environment) -> Result<Self, String> {
        let mut given = Self(BTreeMap::new());
        for (name, text) in &written.parameters {
            // libpq accepts this spelling of JDBC too.
            let is_jdbc = name == "ssl" && text == "true";
            let (name, text) = if is_jdbc { ("sslmode", "require") } else { (name.as_str(), text.as_str()) };
            let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
            let name = alias.map_or(name, |(_, name)| *name);
            let Some(known) = PARAMETERS.iter().find(|known| known.name == name) else {
                return Err(unknown_parameter(name, written.may_be_a_password));
            };
            given.0.insert(known.name, Value { text: text.to_owned(), variable: None });
        }
        for known in PARAMETERS {
            let variable = known.variable.filter(|_| !given.0.contains_key(known.name));
            if let Some((variable, text)) = variable.and_then(|name| Some((name, environment.get(name)?))) {
                given.0.insert(known.name, Value { text: text.to_owned(), variable: Some(variable) });
            }
            given.hold_to(known)?;
        }
        Ok(given)
    }

    fn hold_to(&self, known: &Parameter) -> Result<(), String> {
        let Only(values, instead) = &known.rule else { return Ok(()) };
        match self.get(known.name) {
            Some(text) if !values.contains(&text) => {
                Err(self.wrong(known.name, &format!("can't be honoured: {instead}")))
            }
            _ => Ok(()),
        }
    }

    /// The value of a parameter. An empty one in the URL counts as none, and the variable is not used then.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.text.as_str()).filter(|text| !text.is_empty())
    }

    /// Whether a variable gave the parameter.
    pub(super) fn is_of_environment(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value.variable.is_some())
    }

    /// The error for a parameter, under the name by which it was given.
    pub(super) fn wrong(&self, name: &str, problem: &str) -> String {
        match self.0.get(name).and_then(|value| value.variable) {
            Some(variable) => format!("the variable `{variable}` {problem}"),
            None => format!("the URL's parameter `{name}` {problem}"),
        }
    }
}

fn unknown_parameter(name: &str, hide: bool) -> String {
    if hide {
        return "the URL has an unknown parameter, or a `/` or `?` before an `@`; write them as %2F, %3F and %40"
            .into();
    }
    let names = PARAMETERS.iter().map(|known| known.name).chain(ALIASES.iter().map(|(alias, _)| *alias));
    format!("the URL has an {}", unknown("parameter", &name.escape_debug().to_string(), names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_listed_once_and_in_order() {
        assert!(PARAMETERS.is_sorted_by_key(|known| known.name.replace('_', "")));
        let aliases = ALIASES.iter().filter(|(alias, name)| {
            PARAMETERS.iter().any(|known| known.name == *alias) || !PARAMETERS.iter().any(|known| known.name == *name)
        });
        assert_eq!(aliases.count(), 0);
    }

    #[test]
    fn each_refusal_says_what_to_write() {
        for known in PARAMETERS {
            if let Only(_, instead) = known.rule {
                assert!(
                    ["leave it out", "write "].iter().any(|what| instead.contains(what))
                        || instead.contains("name that"),
                    "{}",
                    known.name
                );
            }
        }
    }
}
