//! The reference chapter of the settings, made from the table. The test that compares it with the book needs it, and
//! nothing else.

use super::environment::kafka_variable;
use super::kafka::{self, ALLOWED, REFUSED};
use super::names::{EVENT_TYPES, PROPERTIES};
use super::postgres_url;
use super::setting::{Scope, Setting};
use super::table::SETTINGS;

const INTRODUCTION: &str = "\
Settings come from four layers: defaults, the file `readcast.toml`, environment variables, and flags. A later layer overrules
an earlier one. [Configure](../guides/configure.md) shows a typical file and explains the layers.

- `[projector]` holds for all projections. `[projections.NAME]` overrules it for the projection `NAME`, even if a variable
  sets the value for all. `[topics.NAME]` holds for the topic `NAME`, which is written without `source.topic_prefix`. In
  it, `*` stands for any text: `[topics.\"orders-*\"]`. The longest name that fits a topic counts.
- A size is a number of bytes, or a text with a unit: `\"8 MiB\"`, `\"512 KiB\"`, `\"2 GB\"`.
- An unknown name and a value out of range are errors. They name the place and, for a name, the nearest known one.
- A former name is still read, with a warning. A layer that has both names is refused.

Five variables belong to no setting of the file:

| Variable | Meaning |
|---|---|
| `READCAST_CONFIG` | The configuration file, unless `--config` names it. |
| `DATABASE_URL` | `store.url`, if nothing else sets it. |
| `LOG_FORMAT` | The form of the log on standard error: `text` (default) or `json`. |
| `RUST_LOG` | Which events are logged. Default: `warn,readcast=info`. |
| `NO_COLOR` | Any value switches the colours of the log off. |
";

const PROPERTIES_INTRODUCTION: &str = "\
librdkafka's own properties, such as `\"bootstrap.servers\" = \"127.0.0.1:9092\"`. Their values are texts, integers or
booleans. A variable is `READCAST_KAFKA_` and the name in capitals, with underscores for dots: `READCAST_KAFKA_BOOTSTRAP_SERVERS`.
[librdkafka's documentation](https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md) describes them.
";

const URL_INTRODUCTION: &str = "\
libpq's parameters, in the URL or as variables. readcast honours them as libpq does, or refuses them.

| Parameter | Variable | |
|---|---|---|
";

const EVENT_TYPES_INTRODUCTION: &str = "\
The names of the topic's event types as the projections know them, by the names that producers write:
`\"com.bank.account.opened.v1\" = \"AccountOpened\"`. Other types keep their names.
";

/// The chapter as Markdown.
pub(crate) fn chapter() -> String {
    let mut chapter = format!("# Settings\n\n{INTRODUCTION}");
    let mut current = "";
    for setting in SETTINGS {
        let section = setting.name.rsplit_once('.').map_or("", |(section, _)| section);
        if section != current {
            chapter += &format!("\n<a id=\"{section}\"></a>\n\n## `[{section}]`\n");
            current = section;
        }
        chapter += &entry(setting);
    }
    chapter + &event_types() + &properties() + &url_parameters()
}

/// One setting, with its name as anchor.
fn entry(setting: &Setting) -> String {
    let Setting { name, scope, kind, flag, meaning, .. } = setting;
    let default = setting.default.map(|text| format!("`{text}`")).or(setting.computed.map(str::to_owned));
    let variable = setting.variable().map(|variable| match kind.is_secret() {
        true => format!("`{variable}`; `{variable}_FILE` names a file that holds the value"),
        false => format!("`{variable}`"),
    });
    let of_one = Some(setting.names()).filter(|names| *scope == Scope::Projection && names.len() == 2);
    let former = setting.formerly.map(|name| match setting.former_variable() {
        Some(variable) => format!("`{name}`, `{variable}`"),
        None => format!("`{name}`"),
    });
    let lines = [
        ("Value", Some(kind.expected())),
        ("Default", default),
        ("Variable", variable),
        ("Flag", flag.map(|flag| format!("`{flag}`"))),
        ("For one projection", of_one.map(|names| format!("`{}`", names[1]))),
        ("Former name", former),
    ];
    let lines = lines.into_iter().filter_map(|(what, text)| Some(format!("- {what}: {}\n", text?)));
    format!("\n<a id=\"{name}\"></a>\n\n### `{name}`\n\n{}\n\n{}", meaning.trim(), lines.collect::<String>())
}

fn event_types() -> String {
    format!("\n<a id=\"{EVENT_TYPES}\"></a>\n\n## `[{EVENT_TYPES}]`\n\n{EVENT_TYPES_INTRODUCTION}")
}

fn properties() -> String {
    let row = |name: &&str| match kafka::is_secret(name) {
        true => format!("- `{name}` (secret: `{}_FILE` names a file that holds the value)\n", kafka_variable(name)),
        false => format!("- `{name}`\n"),
    };
    let allowed: String = ALLOWED.iter().map(row).collect();
    let refused: String = REFUSED.iter().map(|(name, why)| format!("| `{name}` | {why} |\n")).collect();
    format!(
        "\n<a id=\"{PROPERTIES}\"></a>\n\n## `[{PROPERTIES}]`\n\n{PROPERTIES_INTRODUCTION}\nThese may be set:\n\n{allowed}\n\
         These are refused:\n\n| Property | Reason |\n|---|---|\n{refused}"
    )
}

fn url_parameters() -> String {
    let row = |(name, variable, rule): (&str, Option<&str>, String)| {
        let variable = variable.map(|variable| format!("`{variable}`")).unwrap_or_default();
        format!("| `{name}` | {variable} | {rule} |\n")
    };
    let rows: String = postgres_url::parameter_rules().into_iter().map(row).collect();
    format!("\n<a id=\"postgres-url\"></a>\n\n## Parameters of a Postgres URL\n\n{URL_INTRODUCTION}{rows}")
}
