//! The flags that select parked keys.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use readcast_core::{Position, Timestamp};

use crate::cli::position::position;
use crate::cli::{CommandError, Context, connect};
use crate::control::registered;
use crate::store::{PoisonClass, Selection};

/// Selects the keys that match every flag that is given; all keys without a flag.
#[derive(clap::Args)]
pub(super) struct Flags {
    /// With this record key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Whose first record has this position, as TOPIC/PARTITION@OFFSET
    #[arg(long, value_name = "POSITION", value_parser = position)]
    first: Option<Position>,
    /// Whose first record is parked for this reason
    #[arg(long, value_name = "CLASS", value_parser = class())]
    class: Option<PoisonClass>,
    /// Parked at or after this time, such as 2024-05-20T14:30:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Parked before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

/// The same for a command that changes something. It needs a flag, so that nothing is settled by accident.
#[derive(clap::Args)]
pub(super) struct RequiredFlags {
    #[command(flatten)]
    flags: Flags,
    /// All parked keys
    #[arg(long, conflicts_with_all = ["key", "first", "class", "since", "until"])]
    all: bool,
}

/// The projections in which keys are settled: one record is often parked in several.
#[derive(clap::Args)]
pub(super) struct Target {
    /// Only in this projection
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Only in this projection: the same as NAME
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    projection: Option<String>,
}

/// Who decides, and why.
#[derive(clap::Args)]
pub(super) struct Decider {
    /// Who decides [default: the user and the host]
    #[arg(long, value_name = "WHO")]
    pub(super) by: Option<String>,
    /// Why, for those who read the decision later
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

impl Target {
    /// The names of the projections: the one that is given, otherwise those that have parked a key that is selected.
    pub(super) async fn projections(
        &self,
        context: &Context,
        selection: &Selection,
    ) -> Result<Vec<String>, CommandError> {
        if let Some(name) = self.name.as_ref().or(self.projection.as_ref()) {
            registered(&context.app.registry, name)?;
            return Ok(vec![name.clone()]);
        }
        let found = connect::reader(context).await?.projections_that_parked(selection).await?;
        if found.is_empty() {
            let next = "Next: `readcast dead-letters list`";
            return Err(CommandError::Failed(format!("no projection has parked a key that matches. {next}")));
        }
        Ok(found)
    }
}

impl Flags {
    pub(super) fn selection(self) -> Selection {
        let Self { key, first, class, since, until } = self;
        Selection { key, first: first.map(|first| first.to_string()), class, since, until }
    }
}

impl RequiredFlags {
    pub(super) fn selection(self) -> Result<Selection, CommandError> {
        let selection = self.flags.selection();
        if !self.all && selection == Selection::default() {
            let flags = "--key, --first, --class, --since or --until";
            return Err(CommandError::Failed(format!("no key is selected. Next: give {flags}, or --all for all keys")));
        }
        Ok(selection)
    }
}

fn class() -> impl TypedValueParser<Value = PoisonClass> {
    let names = PossibleValuesParser::new(PoisonClass::NAMES.map(|(_, name)| name));
    names.try_map(|name| PoisonClass::named(&name).ok_or("no such class"))
}
