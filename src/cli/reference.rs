//! The reference chapter of the commands, made from the definitions that parse the command line. The test that compares it
//! with the book needs it, and nothing else.

use clap::{Arg, Command};

use super::command_line;
use crate::app::{App, Sample};

const INTRODUCTION: &str = "\
Results go to standard output, logs and progress to standard error. `readcast help COMMAND` prints this text for one command.
";

/// The chapter as Markdown.
pub(crate) fn chapter() -> String {
    // Its help must not depend on the terminal.
    let sampled = App::new().sample(Sample { topic: "", events: |_| Box::new(std::iter::empty()) });
    let mut program = command_line(&sampled).term_width(usize::MAX);
    program.build();
    let global = program.get_arguments().filter(|argument| argument.is_global_set());
    let mut chapter = format!("# Commands\n\n{INTRODUCTION}\nEvery command takes:\n{}", arguments(global));
    commands(&program, &mut chapter);
    chapter
}

fn commands(parent: &Command, chapter: &mut String) {
    for command in parent.get_subcommands().filter(|command| command.get_name() != "help") {
        let path = command.get_bin_name().unwrap_or_default();
        let anchor = path.trim_start_matches("readcast ").replace(' ', "-");
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        let own = command.get_arguments().filter(|argument| !argument.is_global_set());
        *chapter += &format!(
            "\n<a id=\"{anchor}\"></a>\n\n## `{path}`\n\n{about}.\n\n```text\n{usage}\n```\n{}",
            arguments(own)
        );
        commands(command, chapter);
    }
}

/// A table of what a command takes, without what every command takes.
fn arguments<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let shown = arguments.filter(|argument| !argument.is_hide_set() && argument.get_id() != "help");
    let rows: String = shown.map(row).collect();
    if rows.is_empty() { rows } else { format!("\n| Argument | Meaning |\n|---|---|\n{rows}") }
}

fn row(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let list = |values: Vec<String>| format!("`{}`", values.join("`, `"));
    let possible: Vec<String> =
        argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let takes_value = argument.get_action().takes_values();
    let possible = Some(possible).filter(|values| takes_value && !values.is_empty());
    let default =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let default = Some(default).filter(|values| takes_value && !values.is_empty());
    let possible = possible.map(|values| format!(" [possible values: {}]", list(values))).unwrap_or_default();
    let default = default.map(|values| format!(" [default: {}]", list(values))).unwrap_or_default();
    format!("| `{argument}` | {}{possible}{default} |\n", help.replace('|', "\\|"))
}
