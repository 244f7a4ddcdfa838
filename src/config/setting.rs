//! What is known of one setting, and the macro that turns the rows of [`table`](super::table) into settings and options.

use super::error::ConfigError;
use super::kind::Describe;
use super::written::Written;

/// In the name of a setting, it stands for the name of a projection or of a topic.
pub(super) const NAME: &str = "NAME";

/// One row of the table.
pub(super) struct Setting {
    /// Its whole name: `projector.lanes`, or with a placeholder `topics.NAME.format`.
    pub(super) name: &'static str,
    /// The name that an earlier version gave it. It is still read, with a warning.
    pub(super) formerly: Option<&'static str>,
    /// For what the setting can be written.
    pub(super) scope: Scope,
    /// What a value must be.
    pub(super) kind: &'static dyn Describe,
    /// Refuses a value that is not of that kind.
    pub(super) check: fn(&Written) -> Result<(), ConfigError>,
    /// The default, in the form of a configured value. `None` if the setting has no default.
    pub(super) default: Option<&'static str>,
    /// A description of that value, where the program computes it. Only the reference shows it.
    #[cfg(test)]
    pub(super) computed: Option<&'static str>,
    /// The field that holds the value, so that a test finds settings that nothing uses.
    #[cfg(test)]
    pub(super) field: &'static str,
    /// The flag of the command line that sets it.
    pub(super) flag: Option<&'static str>,
    /// What it means, in Markdown.
    pub(super) meaning: &'static str,
}

/// For what a setting can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The service as a whole.
    Service,
    /// All projections in `[projector]`, and each one in `[projections.NAME]`, which counts for more.
    Projection,
    /// One topic, in `[topics.NAME]`.
    Topic,
}

impl Setting {
    /// The names under which it is read: its own, and the one that overrides it for one projection.
    pub(super) fn names(&self) -> Vec<String> {
        self.names_of(self.name)
    }

    /// The same for its former name, if it has one.
    pub(super) fn former_names(&self) -> Vec<String> {
        self.formerly.map(|name| self.names_of(name)).unwrap_or_default()
    }

    /// The environment variable, if it has one. `READCAST_` stands for `projector.` too.
    pub(super) fn variable(&self) -> Option<String> {
        variable(self.name)
    }

    /// The variable of its former name, if it has one.
    pub(super) fn former_variable(&self) -> Option<String> {
        self.formerly.and_then(variable)
    }

    fn names_of(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        if let (Scope::Projection, Some(last)) = (self.scope, name.strip_prefix("projector.")) {
            names.push(format!("projections.{NAME}.{last}"));
        }
        names
    }
}

/// What stands in `name` where `pattern` has [`NAME`]: a projection, or a topic, which may have dots in its name. The empty
/// text where the pattern has no `NAME`; `None` if they do not match.
pub(super) fn matched<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    let Some((head, tail)) = pattern.split_once(NAME) else { return (pattern == name).then_some("") };
    let of = name.strip_prefix(head)?.strip_suffix(tail)?;
    Some(of).filter(|of| !of.is_empty() && (head == "topics." || !of.contains('.')))
}

fn variable(name: &str) -> Option<String> {
    let of_service = Some(name.strip_prefix("projector.").unwrap_or(name)).filter(|name| !name.contains(NAME));
    of_service.map(|name| format!("READCAST_{}", name.replace('.', "_").to_ascii_uppercase()))
}

/// Defines the settings: for each struct the type itself, `read`, which fills it from the written values, and its rows in
/// `SETTINGS`. A row is
///
/// ```text
/// /// What it means.
/// field: Type = "section.name", Kind(…), default "as written";
/// ```
///
/// A field without a `default` (or a `computed` one) is an `Option`. `flag "--name"` and `formerly "section.name"` follow.
macro_rules! settings {
    ($(
        $(#[doc = $about:literal])+
        $visible:vis struct $Options:ident for $scope:ident {$(
            $(#[doc = $meaning:literal])+
            $field:ident: $type:ty = $name:literal, $kind:expr
                $(, default $default:literal)? $(, computed $computed:literal)?
                $(, flag $flag:literal)? $(, formerly $formerly:literal)?;
        )+}
    )+) => {
        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            $visible struct $Options {
                $($(#[doc = $meaning])+ pub $field: $type,)+
            }

            impl $Options {
                /// What was written for the service, or for the projection or the topic `of`.
                pub(super) fn read(values: &Values, of: &str) -> Result<Self, ConfigError> {
                    Ok(Self {
                        $($field: settings!(
                            @field values.get($name, of), &$kind, $name $(, default $default)? $(, computed $computed)?
                        ),)+
                    })
                }
            }
        )+

        /// Every setting, in the order of the reference.
        pub(super) static SETTINGS: &[Setting] = &[$($(
            Setting {
                name: $name,
                formerly: settings!(@optional $($formerly)?),
                scope: Scope::$scope,
                kind: &$kind,
                check: |written| Kind::read(&$kind, written).map(drop),
                default: settings!(@optional $($default)?),
                #[cfg(test)]
                field: stringify!($field),
                #[cfg(test)]
                computed: settings!(@optional $($computed)?),
                flag: settings!(@optional $($flag)?),
                meaning: concat!($($meaning),+),
            },
        )+)+];
    };
    (@optional) => { None };
    (@optional $value:literal) => { Some($value) };
    (@field $written:expr, $kind:expr, $name:literal) => {
        $written.map(|written| Kind::read($kind, written)).transpose()?
    };
    (@field $written:expr, $kind:expr, $name:literal, $bottom:ident $value:literal) => {
        Kind::read($kind, $written.ok_or_else(|| ConfigError::no_value($name))?)?
    };
}
pub(super) use settings;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_its_pattern() {
        assert_eq!(matched("store.url", "store.url"), Some(""));
        assert_eq!(matched("topics.NAME.format", "topics.orders.v2.format"), Some("orders.v2"));
        assert_eq!(matched("topics.NAME.format", "topics.format.format"), Some("format"));
        for other in ["topics.format", "topics..format", "topics.orders.formats", "topic.orders.format"] {
            assert_eq!(matched("topics.NAME.format", other), None, "{other}");
        }
        assert_eq!(matched("projections.NAME.lanes", "projections.orders.v2.lanes"), None);
    }

    #[test]
    fn a_variable_is_named_after_the_setting() {
        let variables = ["store.max_connections", "projector.lanes", "topics.NAME.format"].map(variable);
        assert_eq!(variables, [Some("READCAST_STORE_MAX_CONNECTIONS".into()), Some("READCAST_LANES".into()), None]);
    }
}
