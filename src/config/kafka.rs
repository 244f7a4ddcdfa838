//! Which of librdkafka's own properties an operator may set, and why the others are refused.
//!
//! It is an allow-list, because some properties load code or run a command, and others would break readcast's guarantees.

use std::collections::BTreeMap;
use std::fmt;

use super::error::{ConfigError, unknown};
use super::secret::{MASK, Secret, SecretSource};
use super::written::{Value, Written};

/// librdkafka properties. Each one is allowed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaProperties(BTreeMap<&'static str, SecretSource>);

impl KafkaProperties {
    /// Every property that was set, with its value at this moment. Values in files are read again. The values can be
    /// secrets. An error shows only the property and its file.
    pub fn current(&self) -> Result<Vec<(String, String)>, String> {
        let value = |(name, source): (&&str, &SecretSource)| match source.current() {
            Ok(value) => Ok(((*name).to_owned(), value.expose().to_owned())),
            Err(problem) => Err(format!("property `{name}`: {problem}")),
        };
        self.0.iter().map(value).collect()
    }

    /// The value of one property, if it was set and no file holds it.
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            SecretSource::Fixed(value) => Some(value.expose()),
            SecretSource::File(_) => None,
        }
    }

    pub(super) fn set(&mut self, name: &str, written: &Written) -> Result<(), ConfigError> {
        // `client.id = "x"` without quotes around the key is a table `client`. Its content is a value of its own.
        if written.is_table() {
            return Ok(());
        }
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(ConfigError::at(&written.key_at, format!("property `{name}` is refused: {why}")));
        }
        let Some(known) = ALLOWED.iter().find(|known| **known == name) else {
            let problem = unknown("or unsupported librdkafka property", name, ALLOWED.iter().copied());
            return Err(ConfigError::at(&written.key_at, problem));
        };
        let value = match &written.value {
            Value::Integer(number) => SecretSource::Fixed(Secret::new(number.to_string())),
            Value::Boolean(value) => SecretSource::Fixed(Secret::new(value.to_string())),
            _ => written.secret()?,
        };
        self.0.insert(known, value);
        Ok(())
    }
}

impl fmt::Debug for KafkaProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.keys().map(|name| (name, self.get(name).filter(|_| !is_secret(name)).unwrap_or(MASK)));
        f.debug_map().entries(shown).finish()
    }
}

/// Whether the value of the property may never be shown.
pub(super) fn is_secret(name: &str) -> bool {
    SECRET.contains(&name)
}

/// Every property with a meaning here, allowed or refused.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    ALLOWED.iter().copied().chain(REFUSED.iter().map(|(name, _)| *name))
}

const SECRET: &[&str] = &[
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

pub(super) const ALLOWED: &[&str] = &[
    "api.version.request.timeout.ms",
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "check.crcs",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.instance.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "metadata.max.age.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.certificate.stores",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.sigalgs.list",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];

const LOADS_CODE: &str = "it loads code into the process";
const CHECKPOINTS: &str = "positions are the checkpoints in the store, and readcast alone moves them";
const REBALANCE: &str = "readcast decides how partitions move from member to member";

pub(super) const REFUSED: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "reading must not create a topic"),
    ("auto.commit.enable", CHECKPOINTS),
    ("auto.commit.interval.ms", CHECKPOINTS),
    ("auto.offset.reset", CHECKPOINTS),
    ("debug", "what it prints can hold secrets"),
    ("enable.auto.commit", CHECKPOINTS),
    ("enable.auto.offset.store", CHECKPOINTS),
    ("enable.partition.eof", "readcast decides when a partition is at its end"),
    ("group.id", "a group is named after `projector.app` and the projection, or by `group` of `[projections.NAME]`"),
    ("group.remote.assignor", REBALANCE),
    ("interceptors", LOADS_CODE),
    ("metadata.broker.list", "write `bootstrap.servers`"),
    ("offset.store.method", CHECKPOINTS),
    ("partition.assignment.strategy", REBALANCE),
    ("plugin.library.paths", LOADS_CODE),
    ("sasl.kerberos.kinit.cmd", "it runs a shell command"),
    ("ssl.engine.id", LOADS_CODE),
    ("ssl.engine.location", LOADS_CODE),
    ("ssl.providers", LOADS_CODE),
    ("statistics.interval.ms", "readcast keeps its own figures, at /metrics"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> Result<KafkaProperties, String> {
        let mut properties = KafkaProperties::default();
        let key = format!("source.properties.{name}");
        let done = properties.set(name, &Written::text_at("here", key, "hunter2"));
        done.map(|()| properties).map_err(|error| error.to_string())
    }

    #[test]
    fn the_refusal_of_a_property_gives_the_reason() {
        let refused = set("plugin.library.paths").unwrap_err();
        assert_eq!(refused, "here: property `plugin.library.paths` is refused: it loads code into the process");
        assert!(REFUSED.iter().all(|(name, _)| set(name).unwrap_err().contains(" is refused: ")));
    }

    #[test]
    fn an_unknown_property_names_the_nearest() {
        let unknown = set("bootstrap.server").unwrap_err();
        let expected =
            "unknown or unsupported librdkafka property `bootstrap.server`; did you mean `bootstrap.servers`?";
        assert_eq!(unknown, format!("here: {expected}"));
    }

    #[test]
    fn secrets_are_masked_and_other_values_are_shown() {
        assert!(SECRET.iter().all(|name| !format!("{:?}", set(name).unwrap()).contains("hunter2")));
        assert_eq!(format!("{:?}", set("client.id").unwrap()), r#"{"client.id": "hunter2"}"#);
        assert_eq!(set("ssl.key.pem").unwrap().get("ssl.key.pem"), Some("hunter2"));
    }

    #[test]
    fn every_property_named_like_a_secret_is_one() {
        let sounds = |name: &&str| ["password", "secret", "key.pem"].iter().any(|end| name.ends_with(end));
        assert!(ALLOWED.iter().filter(|name| sounds(name)).all(|name| is_secret(name)));
        assert!(SECRET.iter().all(|name| ALLOWED.contains(name)));
    }

    #[test]
    fn no_property_is_both_allowed_and_refused() {
        assert!(REFUSED.iter().all(|(name, _)| !ALLOWED.contains(name)));
    }
}
