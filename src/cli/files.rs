//! The commands for projections that are files: `new`, `test`, `try`, `lint`, `dev`.

mod dev;
mod lint;
mod new;
mod record;
mod sample;
mod test;
mod try_event;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::{CommandError, Context, output};
use crate::config::ConfigError;
use crate::files::{self, FileProjection};

/// The folder of projections where none is configured.
const DEFAULT_FOLDER: &str = "projections";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Draw a projection from a sample of a topic: its file, its table and a first test
    New(new::Arguments),
    /// Run the projections, and build the tables of each file again when it is saved
    #[command(after_help = "Example:\n  readcast dev --projections projections")]
    Dev,
    /// Say what is suspicious in projections that are files
    Lint(lint::Arguments),
    /// Print the JSON Schema of projections that are files, for editors
    #[command(after_help = "Example:\n  readcast schema > projection.schema.json")]
    Schema {
        /// Print the interface of WebAssembly components instead, in the language WIT
        #[arg(long)]
        wit: bool,
    },
    /// Run the tests of projections that are files
    Test(test::Arguments),
    /// Show what a projection does with one event, expression by expression
    Try(try_event::Arguments),
}

impl Command {
    /// Whether the command needs no projection to be there.
    pub(super) fn needs_none(&self) -> bool {
        matches!(self, Command::New(_) | Command::Schema { .. })
    }

    /// The topic that the command reads, even if no projection does.
    pub(super) fn topic(&self) -> Option<&str> {
        match self {
            Command::New(arguments) => Some(arguments.topic()),
            Command::Dev | Command::Lint(_) | Command::Schema { .. } | Command::Test(_) | Command::Try(_) => None,
        }
    }
}

pub(super) async fn run(context: Context, command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Dev => dev::run(context).await,
        Command::New(arguments) => new::run(context, arguments).await,
        Command::Schema { wit } => {
            if wit {
                output::line(files::WIT.trim_end())?
            } else {
                output::line(format_args!("{:#}", files::schema()))?
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Lint(arguments) => lint::run(&context, &arguments).await,
        Command::Test(arguments) => test::run(&context, &arguments).await,
        Command::Try(arguments) => try_event::run(context, arguments).await,
    }
}

/// The folder of projections.
fn folder(context: &Context) -> PathBuf {
    context.projections.clone().unwrap_or_else(|| DEFAULT_FOLDER.into())
}

/// The folder of projections, which is needed.
fn configured(context: &Context) -> Result<&Path, CommandError> {
    context.projections.as_deref().ok_or_else(|| {
        let problem = "no files of projections: set `path` in `[projections]`, or pass `--projections`";
        ConfigError::overall(problem).into()
    })
}

/// The projections with these names, or all of the folder, each with the path of its file.
fn chosen<'c>(context: &'c Context, names: &[String]) -> Result<Vec<&'c (PathBuf, FileProjection)>, CommandError> {
    use readcast_core::Projection as _;
    let folder = configured(context)?;
    let all = &context.loaded;
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|(_, found)| found.name() == name.as_str())) {
        let known = all.iter().map(|(_, found)| found.name()).collect::<Vec<_>>().join(", ");
        let reason = format!("{} has no file of a projection `{unknown}`; there are: {known}", folder.display());
        return Err(CommandError::Failed(reason));
    }
    let is_chosen = |found: &FileProjection| names.is_empty() || names.iter().any(|name| name == found.name());
    Ok(all.iter().filter(|(_, found)| is_chosen(found)).collect())
}
