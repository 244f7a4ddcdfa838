//! The command line. Nothing outside of this module knows clap.
//!
//! It parses, calls [`control`](crate::control) and renders; it asks the store nothing itself. Results go to standard output,
//! logs and progress to standard error, all through `output`. Exit codes: 0 done, 1 a check failed, a projection halted or a
//! request was refused, 2 the command line can't be parsed, 78 bad configuration (`EX_CONFIG` of sysexits.h).

mod accept_loss;
mod adopt;
mod check;
mod connect;
mod dead_letters;
mod demo;
#[cfg(feature = "files")]
mod files;
mod generate;
mod generations;
mod migrate;
mod operate;
mod output;
mod position;
mod rebuild;
#[cfg(test)]
pub(crate) mod reference;
mod run;
mod status;
mod terminal;
#[cfg(test)]
mod tests;
mod verify;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, FromArgMatches, Subcommand, ValueEnum};

use crate::app::{App, Sample};
use crate::config::{Config, ConfigError, Environment, Overrides, ProjectionFiles, help_of};
use crate::control::ControlError;
use crate::decode::Decoders;
use crate::files::{FilesError, Loaded};
use crate::telemetry;

/// The exit code of a command whose configuration is wrong (sysexits.h).
const EX_CONFIG: u8 = 78;

#[derive(Clone, Args)]
struct Flags {
    /// The configuration file [default: readcast.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long, global = true, value_name = "URL", help = help_of("--source"))]
    source: Option<String>,
    #[arg(long, global = true, value_name = "URL", help = help_of("--store"))]
    store: Option<String>,
    #[arg(long, global = true, value_name = "ADDRESS", help = help_of("--admin-listen"))]
    admin_listen: Option<String>,
    #[arg(long, global = true, value_name = "DIR", help = help_of("--projections"))]
    projections: Option<String>,
}

/// The commands of a program that has a [`Sample`].
#[derive(Subcommand)]
enum SampleCommand {
    /// Run a demo that needs nothing installed: sample events, projected live into a SQLite file
    Demo(demo::Arguments),
    /// Write sample events to the log
    Generate(generate::Arguments),
}

#[derive(Subcommand)]
enum Command {
    /// Run the projections until SIGTERM, or to the end that the log has now
    Run(run::Arguments),
    /// Show how far every projection is, what is wrong, and what to do next
    Status(status::Arguments),
    /// Check configuration, definitions, connections and tables, and change nothing
    Check(check::Arguments),
    /// Create readcast's own tables and those of the projections
    #[command(after_help = "Example:\n  readcast migrate")]
    Migrate,
    /// Build the tables of a projection again from the log; readers see the old ones meanwhile
    Rebuild(rebuild::Arguments),
    /// Fold the log again, and compare the result with the tables that readers see
    Verify(verify::Arguments),
    /// Make the ready generation live: readers see it from then on
    Activate(generations::Activate),
    /// Make the previous generation live again: readers see it from then on
    #[command(after_help = "Example:\n  readcast rollback order_summary")]
    Rollback(generations::Rollback),
    /// Drop the generations that readers do not see: those that are ready, and those on standby
    #[command(after_help = "Example:\n  readcast retire order_summary")]
    Retire(generations::ProjectionName),
    /// Cancel the open operations of a projection, and drop what they are building
    #[command(after_help = "Example:\n  readcast cancel order_summary")]
    Cancel(generations::ProjectionName),
    /// Pause a projection until it is resumed
    #[command(after_help = "Example:\n  readcast pause order_summary --rebuild")]
    Pause(generations::Pause),
    /// Resume a projection
    #[command(after_help = "Example:\n  readcast resume order_summary")]
    Resume(generations::Pause),
    /// Move the tables and positions of a projection to another name
    Rename(generations::Rename),
    /// List, show, retry, discard or export the records that could not be projected
    #[command(after_help = "Example:\n  readcast dead-letters list")]
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Continue after records that the log has lost before they were read
    AcceptLoss(accept_loss::Arguments),
    /// Make the database belong to this deployment, in place of the one that it belongs to
    Adopt(adopt::Arguments),
    /// Print the completions of a shell
    #[command(after_help = "Example:\n  readcast completions bash > readcast.bash")]
    Completions {
        /// The shell to complete commands in
        shell: clap_complete::Shell,
    },
}

/// The format of an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

/// Why a command failed, as one line.
enum CommandError {
    /// The configuration is wrong.
    Config(ConfigError),
    /// The files of projections are wrong.
    Files(FilesError),
    /// The command failed for any other reason.
    Failed(String),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Config(error) => error.fmt(f),
            CommandError::Files(error) => error.fmt(f),
            CommandError::Failed(error) => f.write_str(&crate::text::escape(error)),
        }
    }
}

impl From<ControlError> for CommandError {
    fn from(error: ControlError) -> Self {
        CommandError::failed(error)
    }
}

impl From<FilesError> for CommandError {
    fn from(error: FilesError) -> Self {
        CommandError::Files(error)
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        CommandError::Config(error)
    }
}

impl CommandError {
    fn failed(error: impl ToString) -> Self {
        CommandError::Failed(error.to_string())
    }
}

/// The program, and the flags that it was started with.
#[derive(Clone)]
struct Start {
    app: App,
    flags: Flags,
}

/// Everything that a command works with.
struct Context {
    #[cfg_attr(not(feature = "files"), expect(dead_code))]
    start: Start,
    /// The program with the projections that are files.
    app: App,
    config: Config,
    decoders: Decoders,
    /// The folder of projections that are files, if one is configured.
    #[cfg_attr(not(feature = "files"), expect(dead_code))]
    projections: Option<PathBuf>,
    /// The projections of that folder, each with the path of its file.
    #[cfg_attr(not(feature = "files"), expect(dead_code))]
    loaded: Loaded,
}

/// A parsed command.
enum Typed {
    Common(Command),
    OfSample(SampleCommand, Sample),
    #[cfg(feature = "files")]
    OfFiles(files::Command),
}

impl Typed {
    /// Whether the command needs no projection to be there.
    fn needs_no_projection(&self) -> bool {
        match self {
            #[cfg(feature = "files")]
            Self::OfFiles(command) => command.needs_none(),
            _ => false,
        }
    }

    /// What is logged unless it is configured.
    fn default_log_filter(&self) -> &'static str {
        match self {
            #[cfg(feature = "files")]
            Self::OfFiles(files::Command::Dev) => telemetry::WARNINGS,
            _ => telemetry::OWN_INFO,
        }
    }

    /// The topic that the command reads beside those of projections.
    fn topic(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "files")]
            Self::OfFiles(command) => command.topic(),
            _ => None,
        }
    }
}

impl App {
    /// Runs the command that the arguments of this process name.
    ///
    /// Exit codes: 0 done, 1 a check failed or a projection halted, 2 the arguments can't be parsed, 78 bad configuration
    /// (`EX_CONFIG` of sysexits.h).
    pub fn run(self) -> ExitCode {
        output::set_program(self.name);
        let (command, flags) = typed(&self, std::env::args_os()).unwrap_or_else(|error| error.exit());
        match prepared(Start { app: self, flags }, &command).and_then(|context| execute(command, context)) {
            Ok(code) => code,
            Err(error) => {
                output::message(&error);
                match error {
                    CommandError::Config(_) | CommandError::Files(_) => ExitCode::from(EX_CONFIG),
                    CommandError::Failed(_) => ExitCode::FAILURE,
                }
            }
        }
    }
}

/// The parser: `demo` and `generate` are there only for a program with sample events.
fn command_line(app: &App) -> clap::Command {
    let command = clap::Command::new(app.name).bin_name(app.name).version(app.version).about(app.about);
    let command = Flags::augment_args(command.subcommand_required(true).arg_required_else_help(true));
    let command = if app.sample.is_some() { SampleCommand::augment_subcommands(command) } else { command };
    #[cfg(feature = "files")]
    let command = files::Command::augment_subcommands(command);
    Command::augment_subcommands(command)
}

/// Parses the command line. The error also prints help and version.
fn typed(app: &App, arguments: impl IntoIterator<Item = OsString>) -> Result<(Typed, Flags), clap::Error> {
    let matches = command_line(app).try_get_matches_from(arguments)?;
    let typed = match app.sample {
        Some(sample) if matches.subcommand_name().is_some_and(SampleCommand::has_subcommand) => {
            Typed::OfSample(SampleCommand::from_arg_matches(&matches)?, sample)
        }
        #[cfg(feature = "files")]
        _ if matches.subcommand_name().is_some_and(files::Command::has_subcommand) => {
            Typed::OfFiles(files::Command::from_arg_matches(&matches)?)
        }
        _ => Typed::Common(Command::from_arg_matches(&matches)?),
    };
    Ok((typed, Flags::from_arg_matches(&matches)?))
}

/// Reads the configuration and checks the registered projections, before anything is opened.
fn prepared(start: Start, command: &Typed) -> Result<Context, CommandError> {
    let Start { mut app, flags: Flags { config, source, store, admin_listen, projections } } = start.clone();
    let overrides = Overrides { config, source, store, admin_listen, projections };
    let environment = Environment::of_process();
    let projections = ProjectionFiles::load(&overrides, &environment)?.path;
    let mut loaded = Loaded::default();
    if let Some(folder) = projections.as_ref().filter(|_| !command.needs_no_projection()) {
        (app.registry, loaded) = crate::files::registered(app.registry, folder)?;
    }
    let registered: Vec<&str> = app.registry.definitions().iter().map(|definition| definition.name()).collect();
    let config = Config::load(&overrides, &environment, &registered)?;
    connect::check_schemes(&app, &config)?;
    let decoders = connect::decoders(&app, &config, command.topic())?;
    app.registry.validate().map_err(CommandError::failed)?;
    Ok(Context { start, app, config, decoders, projections, loaded })
}

fn execute(command: Typed, context: Context) -> Result<ExitCode, CommandError> {
    telemetry::init(&context.config.logging, command.default_log_filter())?;
    context.config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CommandError::failed)?;
    let code = runtime.block_on(async {
        match command {
            Typed::Common(command) => run_command(command, context).await,
            #[cfg(feature = "files")]
            Typed::OfFiles(command) => files::run(context, command).await,
            Typed::OfSample(SampleCommand::Demo(arguments), sample) => demo::run(context, sample, arguments).await,
            Typed::OfSample(SampleCommand::Generate(arguments), sample) => {
                generate::run(context, sample, arguments).await
            }
        }
    });
    // A request to a broker that does not answer must not delay the end.
    runtime.shutdown_background();
    code
}

async fn run_command(command: Command, context: Context) -> Result<ExitCode, CommandError> {
    match command {
        Command::Run(arguments) => run::run(context, arguments).await,
        Command::Status(arguments) => status::run(context, arguments).await,
        Command::Check(arguments) => check::run(context, arguments).await,
        Command::Migrate => migrate::run(context).await,
        Command::Rebuild(arguments) => rebuild::run(context, arguments).await,
        Command::Verify(arguments) => verify::run(context, arguments).await,
        Command::Activate(arguments) => generations::activate(context, arguments).await,
        Command::Rollback(arguments) => generations::rollback(context, arguments).await,
        Command::Retire(arguments) => generations::retire(context, arguments).await,
        Command::Cancel(arguments) => generations::cancel(context, arguments).await,
        Command::Pause(arguments) => generations::pause(context, arguments).await,
        Command::Resume(arguments) => generations::resume(context, arguments).await,
        Command::Rename(arguments) => generations::rename(context, arguments).await,
        Command::DeadLetters(command) => dead_letters::run(context, command).await,
        Command::AcceptLoss(arguments) => accept_loss::run(context, arguments).await,
        Command::Adopt(arguments) => adopt::run(context, arguments).await,
        Command::Completions { shell } => {
            let (mut command_line, mut script) = (command_line(&context.app), Vec::new());
            clap_complete::generate(shell, &mut command_line, context.app.name, &mut script);
            output::line(String::from_utf8_lossy(&script).trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
