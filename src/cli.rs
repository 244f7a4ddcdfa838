//! The command line: what can be typed, and which command does it. Nothing outside of this module knows clap.
//!
//! Results go to standard output, logs and progress to standard error. Exit codes: 0 done, 1 a check failed or a
//! projection halted, 78 bad configuration (`EX_CONFIG` of sysexits.h).

mod accept_loss;
mod adopt;
mod check;
mod connect;
mod dead_letters;
mod demo;
mod generate;
mod generations;
mod migrate;
mod operate;
mod rebuild;
#[cfg(test)]
pub(crate) mod reference;
mod run;
mod status;
mod terminal;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, FromArgMatches, Subcommand, ValueEnum};
use readcast_core::{Definition, Registry};

use crate::app::{App, Sample};
use crate::config::{Config, ConfigError, Environment, Overrides, help_of};
use crate::decode::Decoders;
use crate::telemetry;

/// Bad configuration.
const EX_CONFIG: u8 = 78;

#[derive(Args)]
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
}

/// The commands of a program that has a [`Sample`].
#[derive(Subcommand)]
enum SampleCommand {
    /// Show it all at work, with nothing installed: made-up events, projected live into a SQLite file
    Demo(demo::Arguments),
    /// Write made-up events into a log
    Generate(generate::Arguments),
}

#[derive(Subcommand)]
enum Command {
    /// Project until SIGTERM, or to the end that the log has now
    Run(run::Arguments),
    /// How far every projection is, and what is wrong
    Status(status::Arguments),
    /// Check configuration, definitions, connections and tables; changes nothing
    Check(check::Arguments),
    /// Create readcast's own tables and those of the registered projections
    Migrate,
    /// Build a projection's tables anew from the log, while readers keep reading the old ones
    Rebuild(rebuild::Arguments),
    /// Fold the log once more and compare the result with the tables that readers see
    Verify(verify::Arguments),
    /// Let readers see the generation that is ready
    Activate(generations::Activate),
    /// Let readers see the generation again that they saw before
    Rollback(generations::Named),
    /// Drop the generations that readers do not see: those that are ready, and those kept to go back to
    Retire(generations::Named),
    /// Take back what was asked for and is not done, and give up what is being built
    Cancel(generations::Named),
    /// Feed a projection no more until it is resumed
    Pause(generations::Pause),
    /// Feed a projection again
    Resume(generations::Pause),
    /// Carry a projection's tables and positions over to another name
    Rename(generations::Rename),
    /// What could not be projected and is parked: look at it, try it again, leave it out
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Go on behind what the log has lost of what was still to be read
    AcceptLoss(accept_loss::Arguments),
    /// Take the place of the deployment that the database belongs to, for good
    Adopt(adopt::Arguments),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How a listing is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

/// Why a command did not do what it was asked to, as one line.
enum Refusal {
    /// The configuration is wrong.
    Config(ConfigError),
    /// Anything else.
    Failed(String),
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Refusal::Config(error)
    }
}

impl Refusal {
    fn failed(error: impl ToString) -> Self {
        Refusal::Failed(error.to_string())
    }
}

/// The projection with this name, or a refusal that lists those there are.
fn registered<'a>(registry: &'a Registry, name: &str) -> Result<&'a Definition, Refusal> {
    registry.get(name).ok_or_else(|| no_such(name, registry.definitions().iter().map(Definition::name)))
}

fn no_such<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Refusal {
    let known: BTreeSet<&str> = known.into_iter().collect();
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    Refusal::Failed(format!("there is no projection `{name}`; there are: {known}"))
}

/// Everything that a command works with.
struct Context {
    app: App,
    config: Config,
    decoders: Decoders,
}

/// A command that was typed.
enum Typed {
    Common(Command),
    OfSample(SampleCommand, Sample),
}

/// Runs the command line of this process.
pub(crate) fn main(app: App) -> ExitCode {
    let name = app.name;
    let (command, flags) = typed(&app, std::env::args_os()).unwrap_or_else(|error| error.exit());
    match prepared(app, flags).and_then(|context| execute(command, context)) {
        Ok(code) => code,
        Err(Refusal::Config(error)) => {
            eprintln!("{name}: {error}");
            ExitCode::from(EX_CONFIG)
        }
        Err(Refusal::Failed(error)) => {
            eprintln!("{name}: {}", terminal::escape(&error));
            ExitCode::FAILURE
        }
    }
}

/// What can be typed.
fn command_line(app: &App) -> clap::Command {
    let command = clap::Command::new(app.name).version(app.version).about(app.about);
    let command = Flags::augment_args(command.subcommand_required(true).arg_required_else_help(true));
    let command = if app.sample.is_some() { SampleCommand::augment_subcommands(command) } else { command };
    Command::augment_subcommands(command)
}

/// Takes a command line apart. The error is what help and version are printed by, too.
fn typed(app: &App, arguments: impl IntoIterator<Item = OsString>) -> Result<(Typed, Flags), clap::Error> {
    let matches = command_line(app).try_get_matches_from(arguments)?;
    let typed = match app.sample {
        Some(sample) if matches.subcommand_name().is_some_and(SampleCommand::has_subcommand) => {
            Typed::OfSample(SampleCommand::from_arg_matches(&matches)?, sample)
        }
        _ => Typed::Common(Command::from_arg_matches(&matches)?),
    };
    Ok((typed, Flags::from_arg_matches(&matches)?))
}

/// Reads all that is configured and checks all that is registered, before anything is touched.
fn prepared(app: App, flags: Flags) -> Result<Context, Refusal> {
    let Flags { config, source, store, admin_listen } = flags;
    let overrides = Overrides { config, source, store, admin_listen };
    let registered: Vec<&str> = app.registry.definitions().iter().map(|definition| definition.name()).collect();
    let config = Config::load(&overrides, &Environment::of_process(), &registered)?;
    connect::check_schemes(&app, &config)?;
    let decoders = connect::decoders(&app, &config)?;
    app.registry.validate().map_err(Refusal::failed)?;
    Ok(Context { app, config, decoders })
}

fn execute(command: Typed, context: Context) -> Result<ExitCode, Refusal> {
    telemetry::init(&context.config.logging)?;
    context.config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Refusal::failed)?;
    let code = runtime.block_on(async {
        match command {
            Typed::Common(command) => carry_out(command, context).await,
            Typed::OfSample(SampleCommand::Demo(arguments), sample) => demo::run(context, sample, arguments).await,
            Typed::OfSample(SampleCommand::Generate(arguments), sample) => {
                generate::run(context, sample, arguments).await
            }
        }
    });
    // A question to a broker that does not answer must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn carry_out(command: Command, context: Context) -> Result<ExitCode, Refusal> {
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
            let mut command_line = command_line(&context.app);
            clap_complete::generate(shell, &mut command_line, context.app.name, &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}
