//! `readcast new`

use std::path::Path;
use std::process::ExitCode;

use super::super::{CommandError, Context, connect, output};
use super::sample;
use crate::files::draft;
use crate::source::Extents;
use crate::text::counted;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast new loans --from-topic loans")]
pub(in crate::cli) struct Arguments {
    /// The name of the projection, and of its table
    name: String,
    /// The topic whose events it reads
    #[arg(long, value_name = "TOPIC")]
    from_topic: String,
    /// About how many records are read
    #[arg(long, default_value_t = 200)]
    records: usize,
}

impl Arguments {
    pub(super) fn topic(&self) -> &str {
        &self.from_topic
    }
}

pub(super) async fn run(context: Context, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments { name, from_topic: topic, records } = arguments;
    let folder = super::folder(&context);
    let files = [format!("{name}.toml"), format!("{name}.test.toml")].map(|file| folder.join(file));
    if let Some(existing) = files.iter().find(|file| file.exists()) {
        return Err(CommandError::Failed(format!("{} exists: choose another name, or delete it", existing.display())));
    }
    let source = connect::source(&context).await?;
    let topics = [topic.as_str()];
    let extents = source.extents(&topics).await.map_err(CommandError::failed)?;
    let sampled = sample::sampled(&context, "new", &*source, &topics, &extents, records).await?;
    let (events, refused) = sample::events(&context, &sampled);
    if events.is_empty() {
        return Err(CommandError::Failed(nothing(&topic, &extents, &refused)));
    }
    let draft = draft(&name, &topic, &events).map_err(CommandError::failed)?;
    std::fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
    for (file, text) in files.iter().zip([&draft.projection, &draft.tests]) {
        std::fs::write(file, text).map_err(|error| failed(file, &error))?;
        output::line(format_args!("wrote {}", file.display()))?;
    }
    let read = counted(events.len() as u64, "event");
    output::line(format_args!("It is drawn from {read} of topic `{topic}`."))?;
    if let Some(first) = refused.first() {
        let records = counted(refused.len() as u64, "record");
        output::message(format_args!("{records} could not be read, the first at {first}"));
    }
    if context.projections.is_none() {
        output::line(format_args!("Add it to readcast.toml:\n  [projections]\n  path = \"{}\"", folder.display()))?;
    }
    output::line(format_args!("Next: `readcast test {name}`, then `readcast run`"))?;
    Ok(ExitCode::SUCCESS)
}

fn failed(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Failed(format!("{}: {error}", path.display()))
}

/// Why there is nothing to draw from.
fn nothing(topic: &str, extents: &Extents, refused: &[String]) -> String {
    match refused.first() {
        Some(first) => format!(
            "no record of topic `{topic}` is an event in the configured form; the first: {first}. Set `format` in \
             `[topics.{topic}]`, and look with `readcast check`"
        ),
        None if extents.is_empty() => format!("topic `{topic}` does not exist"),
        None => format!("topic `{topic}` has no records"),
    }
}
