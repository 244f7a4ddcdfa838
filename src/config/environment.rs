//! The layer that is the process environment. Only here is it read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::error::{ConfigError, unknown};
use super::kafka;
use super::secret;
use super::setting::Setting;

/// Environment variables by name. `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

/// Which variable stands for which key.
const VARIABLES: &[(&str, &str)] = &[
    ("READCAST_ADMIN_LISTEN", "admin.listen"),
    ("READCAST_ADMIN_TOKEN", "admin.token"),
    ("READCAST_APP", "projector.app"),
    ("READCAST_BATCH_BYTES", "projector.batch_bytes"),
    ("READCAST_BATCH_RECORDS", "projector.batch_records"),
    ("READCAST_BUFFER_BYTES", "projector.buffer_bytes"),
    ("READCAST_DRAIN_SECONDS", "projector.drain_seconds"),
    ("READCAST_LANES", "projector.lanes"),
    ("READCAST_MAX_IMPACT", "projector.max_impact"),
    ("READCAST_STALL_SECONDS", "projector.stall_seconds"),
    ("READCAST_KEEP_INDEXES", "projector.keep_indexes"),
    ("READCAST_MAX_PARKED", "projector.max_parked"),
    ("READCAST_MAX_PARKED_PER_KEY", "projector.max_parked_per_key"),
    ("READCAST_MAX_RECORD_BYTES", "projector.max_record_bytes"),
    ("READCAST_PROJECTION_SECONDS", "projector.projection_seconds"),
    ("READCAST_DUPLICATE_WINDOW", "projector.duplicate_window"),
    ("READCAST_DUPLICATE_ID", "projector.duplicate_id"),
    ("READCAST_SPOOL_DIRECTORY", "projector.spool_directory"),
    ("READCAST_MOST_LOST_PERCENT", "projector.most_lost_percent"),
    ("READCAST_ON_CHANGE", "projector.on_change"),
    ("READCAST_SOURCE_KIND", "source.kind"),
    ("READCAST_SOURCE_PATH", "source.path"),
    ("READCAST_SOURCE_URL", "source.url"),
    ("READCAST_SOURCE_TOPIC_PREFIX", "source.topic_prefix"),
    ("READCAST_SOURCE_DEAD_LETTER_TOPIC", "source.dead_letter_topic"),
    ("READCAST_SOURCE_DEAD_LETTER_HEADERS", "source.dead_letter_headers"),
    ("READCAST_STANDBY_SECONDS", "projector.standby_seconds"),
    ("READCAST_STORE_INSECURE", "store.insecure"),
    ("READCAST_STORE_MAX_CONNECTIONS", "store.max_connections"),
    ("READCAST_STORE_PASSWORD", "store.password"),
    ("READCAST_STORE_SCHEMA", "store.schema"),
    ("READCAST_STORE_URL", "store.url"),
    ("READCAST_SWAP_LOCK_TIMEOUT_MS", "projector.swap_lock_timeout_ms"),
];

const PREFIX: &str = "READCAST_";
const PROPERTIES: &str = "source.properties.";

impl Environment {
    /// The environment of this process.
    #[allow(clippy::disallowed_methods)]
    pub fn of_process() -> Self {
        // Not `vars`, which panics at a variable that is not UTF-8, be it none of ours.
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, text(value)))).collect()
    }

    /// The value of one variable. An empty one counts as not set, since that is how Compose and Helm unset one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Who types the commands, as `user@host`, as far as that is known. Nothing depends on it being true.
    pub(super) fn operator(&self) -> String {
        let user = self.get("USER").or_else(|| self.get("LOGNAME"));
        format!("{}@{}", user.unwrap_or("unknown"), self.host())
    }

    /// The name of this host, as far as that is known.
    pub(super) fn host(&self) -> String {
        let host = self.get("HOSTNAME").map(str::to_owned).or_else(|| {
            let text = std::fs::read_to_string("/etc/hostname").ok()?;
            Some(text.trim().to_owned()).filter(|name| !name.is_empty())
        });
        host.unwrap_or_else(|| "unknown".into())
    }

    /// What the variables that begin with `READCAST_` say.
    pub(super) fn settings(&self) -> Result<Vec<Setting>, ConfigError> {
        let ours = self.0.keys().filter_map(|name| Some((name.as_str(), self.get(name)?)));
        ours.filter(|(name, value)| name.starts_with(PREFIX) && !is_not_ours(name, value))
            .map(|(name, value)| self.setting(name, value))
            .collect()
    }

    /// The store's URL from `DATABASE_URL`, which other programs may share: only for want of one of our own.
    pub(super) fn fallback_store(&self) -> Option<Setting> {
        self.get(DATABASE_URL).map(|url| Setting::text_at(DATABASE_URL, "store.url", url))
    }

    fn setting(&self, name: &str, value: &str) -> Result<Setting, ConfigError> {
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(ConfigError::at(name, "is not UTF-8"));
        }
        if let Some(key) = key(name) {
            return Ok(Setting::text_at(name, key, value));
        }
        let of_file =
            name.strip_suffix("_FILE").and_then(|plain| Some((plain, key(plain).filter(|key| is_secret(key))?)));
        match of_file {
            Some((plain, _)) if self.get(plain).is_some() => {
                Err(ConfigError::at(name, format!("`{plain}` is set too; keep one of them")))
            }
            Some((_, key)) => {
                let text = secret::read(Path::new(value)).map_err(|problem| ConfigError::at(name, problem))?;
                Ok(Setting::text_at(name, key, text).held_by(value))
            }
            None => {
                let names = names();
                let problem = unknown("variable", name, names.iter().map(String::as_str));
                Err(ConfigError::at("environment", problem))
            }
        }
    }
}

const DATABASE_URL: &str = "DATABASE_URL";

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What is not UTF-8 becomes a replacement character, which [`Environment::setting`] reports.
fn text(value: std::ffi::OsString) -> String {
    value.to_string_lossy().into_owned()
}

/// The key for which a variable stands.
fn key(name: &str) -> Option<String> {
    let plain = VARIABLES.iter().find(|(variable, _)| *variable == name).map(|(_, key)| (*key).to_owned());
    plain.or_else(|| {
        let property = kafka::known().find(|property| kafka_variable(property) == name)?;
        Some(format!("{PROPERTIES}{property}"))
    })
}

fn kafka_variable(property: &str) -> String {
    format!("{PREFIX}KAFKA_{}", property.replace('.', "_").to_ascii_uppercase())
}

fn is_secret(key: &str) -> bool {
    matches!(key, "source.url" | "store.url" | "store.password" | "admin.token")
        || key.strip_prefix(PROPERTIES).is_some_and(kafka::is_secret)
}

/// Every variable that has a meaning.
fn names() -> Vec<String> {
    let plain = VARIABLES.iter().map(|(name, _)| (*name).to_owned()).chain(kafka::known().map(kafka_variable));
    let with_files = plain.flat_map(|name| {
        let file = key(&name).filter(|key| is_secret(key)).map(|_| format!("{name}_FILE"));
        [Some(name), file].into_iter().flatten()
    });
    with_files.chain(["READCAST_CONFIG".to_owned()]).collect()
}

/// Variables with our prefix that say nothing about the configuration: which file it is, the tests' own, and the
/// links that Kubernetes puts into every container when a Service is called `readcast` or `readcast-…`.
fn is_not_ours(name: &str, value: &str) -> bool {
    let link = name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.contains("_PORT_") && (name.contains("_TCP") || name.contains("_UDP")))
        || (name.ends_with("_PORT") && value.contains("://"));
    link || name == "READCAST_CONFIG" || name == "READCAST_FAILPOINT" || name.starts_with("READCAST_TEST_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(variables: &[(&str, &str)]) -> String {
        let environment: Environment = variables.iter().copied().collect();
        environment.settings().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_operator_is_told_by_user_and_host() {
        let operator = |variables: &[(&str, &str)]| variables.iter().copied().collect::<Environment>().operator();
        assert_eq!(operator(&[("USER", "ann"), ("LOGNAME", "other"), ("HOSTNAME", "db1")]), "ann@db1");
        assert_eq!(operator(&[("USER", ""), ("LOGNAME", "ben"), ("HOSTNAME", "db1")]), "ben@db1");
        assert!(operator(&[]).starts_with("unknown@"));
    }

    #[test]
    fn an_unknown_variable_is_told_the_nearest() {
        let expected = "environment: unknown variable `READCAST_STORE_URI`; did you mean `READCAST_STORE_URL`?";
        assert_eq!(problem(&[("READCAST_STORE_URI", "x")]), expected);
        let expected = "environment: unknown variable `READCAST_KAFKA_BOOTSTRAP_SERVER`; \
                        did you mean `READCAST_KAFKA_BOOTSTRAP_SERVERS`?";
        assert_eq!(problem(&[("READCAST_KAFKA_BOOTSTRAP_SERVER", "x")]), expected);
    }

    #[test]
    fn only_secrets_come_from_files() {
        assert!(problem(&[("READCAST_LANES_FILE", "x")]).contains("unknown variable `READCAST_LANES_FILE`"));
    }

    #[test]
    fn a_secret_and_its_file_are_one_too_many() {
        let both = [("READCAST_ADMIN_TOKEN", "a"), ("READCAST_ADMIN_TOKEN_FILE", "b")];
        assert_eq!(problem(&both), "READCAST_ADMIN_TOKEN_FILE: `READCAST_ADMIN_TOKEN` is set too; keep one of them");
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_refused() {
        assert_eq!(problem(&[("READCAST_ADMIN_TOKEN", "pass\u{fffd}")]), "READCAST_ADMIN_TOKEN: is not UTF-8");
    }

    #[test]
    fn what_kubernetes_says_of_a_service_called_readcast_is_passed_over() {
        let links = [
            ("READCAST_SERVICE_HOST", "10.0.0.1"),
            ("READCAST_SERVICE_PORT", "8088"),
            ("READCAST_ADMIN_SERVICE_PORT_HTTP", "8088"),
            ("READCAST_PORT", "tcp://10.0.0.1:8088"),
            ("READCAST_PORT_8088_TCP", "tcp://10.0.0.1:8088"),
            ("READCAST_PORT_8088_TCP_ADDR", "10.0.0.1"),
            ("READCAST_TEST_POSTGRES", "x"),
            ("READCAST_FAILPOINT", "x"),
            ("READCAST_LANES", ""),
        ];
        assert_eq!(problem(&links), "");
    }

    #[test]
    fn debug_shows_no_value() {
        let environment: Environment = [("READCAST_ADMIN_TOKEN", "hunter2")].into_iter().collect();
        assert_eq!(format!("{environment:?}"), r#"{"READCAST_ADMIN_TOKEN"}"#);
    }
}
