//! The layer of environment variables. Only this module reads the environment of the process.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::error::{ConfigError, unknown};
use super::kafka;
use super::names::PROPERTIES;
use super::secret;
use super::setting::Setting;
use super::table::SETTINGS;
use super::written::Written;

/// Environment variables by name. `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

const PREFIX: &str = "READCAST_";
/// The variable that names the configuration file.
pub(super) const CONFIG: &str = "READCAST_CONFIG";
/// The variable that holds the URL of the store where nothing else does.
pub(super) const DATABASE_URL: &str = "DATABASE_URL";

impl Environment {
    /// The environment of this process.
    #[allow(clippy::disallowed_methods)]
    pub fn of_process() -> Self {
        // `vars` panics at any variable that is not UTF-8, even at one of another program.
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, text(value)))).collect()
    }

    /// The value of one variable. An empty one counts as not set, because Compose and Helm unset a variable that way.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The user who runs the command, as `user@host`, from environment variables. It is displayed and recorded, and
    /// decides nothing.
    pub(super) fn operator(&self) -> String {
        let user = self.get("USER").or_else(|| self.get("LOGNAME"));
        format!("{}@{}", user.unwrap_or("unknown"), self.host())
    }

    /// The name of this host, or `unknown`.
    pub(super) fn host(&self) -> String {
        let host = self.get("HOSTNAME").map(str::to_owned).or_else(|| {
            let text = std::fs::read_to_string("/etc/hostname").ok()?;
            Some(text.trim().to_owned()).filter(|name| !name.is_empty())
        });
        host.unwrap_or_else(|| "unknown".into())
    }

    /// The values of the variables that begin with `READCAST_`.
    pub(super) fn written(&self) -> Result<Vec<Written>, ConfigError> {
        let ours = self.0.keys().filter_map(|name| Some((name.as_str(), self.get(name)?)));
        ours.filter(|(name, value)| name.starts_with(PREFIX) && !is_not_ours(name, value))
            .map(|(name, value)| self.value(name, value))
            .collect()
    }

    /// The URL of the store in `DATABASE_URL`. Other programs may use that variable too, so it counts only if nothing else
    /// sets the URL.
    pub(super) fn fallback_store(&self) -> Vec<Written> {
        self.get(DATABASE_URL).map(|url| Written::text_at(DATABASE_URL, "store.url", url)).into_iter().collect()
    }

    fn value(&self, name: &str, value: &str) -> Result<Written, ConfigError> {
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(ConfigError::at(name, "is not UTF-8"));
        }
        let variables = variables();
        if let Some(Variable { key, .. }) = variables.iter().find(|variable| variable.name == name) {
            return Ok(Written::text_at(name, key, value));
        }
        let of_file = variables.iter().find(|variable| variable.file().as_deref() == Some(name));
        match of_file {
            Some(variable) if self.get(&variable.name).is_some() => {
                Err(ConfigError::at(name, format!("`{}` is set too; keep one of them", variable.name)))
            }
            Some(Variable { key, .. }) => {
                let text = secret::read(Path::new(value)).map_err(|problem| ConfigError::at(name, problem))?;
                Ok(Written::text_at(name, key, text).held_by(value))
            }
            None => Err(unknown_variable(name, &variables)),
        }
    }
}

/// A variable and what it sets.
struct Variable {
    name: String,
    /// The setting, or the property, that it sets.
    key: String,
    secret: bool,
}

impl Variable {
    /// The variable that names a file with the value, if the value is a secret.
    fn file(&self) -> Option<String> {
        self.secret.then(|| format!("{}_FILE", self.name))
    }
}

/// Every variable that sets something, under current and former names.
fn variables() -> Vec<Variable> {
    let of_setting = |setting: &Setting| {
        let secret = setting.kind.is_secret();
        let variable = |name: Option<String>, key: &str| Some(Variable { name: name?, key: key.to_owned(), secret });
        let current = variable(setting.variable(), setting.name);
        [current, variable(setting.former_variable(), setting.formerly.unwrap_or_default())]
    };
    let of_property = |property: &str| Variable {
        name: kafka_variable(property),
        key: format!("{PROPERTIES}.{property}"),
        secret: kafka::is_secret(property),
    };
    SETTINGS.iter().flat_map(of_setting).flatten().chain(kafka::known().map(of_property)).collect()
}

/// The variable of a property of librdkafka.
pub(super) fn kafka_variable(property: &str) -> String {
    format!("{PREFIX}KAFKA_{}", property.replace('.', "_").to_ascii_uppercase())
}

fn unknown_variable(name: &str, variables: &[Variable]) -> ConfigError {
    let names: Vec<String> =
        variables.iter().flat_map(|variable| [Some(variable.name.clone()), variable.file()]).flatten().collect();
    let known = names.iter().map(String::as_str).chain([CONFIG]);
    ConfigError::at("environment", unknown("variable", name, known))
}

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

/// The value as text. Bytes that are not UTF-8 become replacement characters, which [`Environment::value`] refuses.
fn text(value: std::ffi::OsString) -> String {
    value.to_string_lossy().into_owned()
}

/// Whether a variable with our prefix sets nothing: the one that names the file, those of the tests, and the links that
/// Kubernetes puts into every container when a Service is named `readcast` or `readcast-…`.
fn is_not_ours(name: &str, value: &str) -> bool {
    let link = name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.contains("_PORT_") && (name.contains("_TCP") || name.contains("_UDP")))
        || (name.ends_with("_PORT") && value.contains("://"));
    link || name == CONFIG || name == "READCAST_FAILPOINT" || name.starts_with("READCAST_TEST_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(variables: &[(&str, &str)]) -> String {
        let environment: Environment = variables.iter().copied().collect();
        environment.written().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_operator_is_user_and_host() {
        let operator = |variables: &[(&str, &str)]| variables.iter().copied().collect::<Environment>().operator();
        assert_eq!(operator(&[("USER", "ann"), ("LOGNAME", "other"), ("HOSTNAME", "db1")]), "ann@db1");
        assert_eq!(operator(&[("USER", ""), ("LOGNAME", "ben"), ("HOSTNAME", "db1")]), "ben@db1");
        assert!(operator(&[]).starts_with("unknown@"));
    }

    #[test]
    fn an_unknown_variable_names_the_nearest() {
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
    fn a_secret_and_its_file_together_are_refused() {
        let both = [("READCAST_ADMIN_TOKEN", "a"), ("READCAST_ADMIN_TOKEN_FILE", "b")];
        assert_eq!(problem(&both), "READCAST_ADMIN_TOKEN_FILE: `READCAST_ADMIN_TOKEN` is set too; keep one of them");
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_refused() {
        assert_eq!(problem(&[("READCAST_ADMIN_TOKEN", "pass\u{fffd}")]), "READCAST_ADMIN_TOKEN: is not UTF-8");
    }

    #[test]
    fn the_links_of_a_kubernetes_service_named_readcast_are_ignored() {
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
