//! `readcast lint`

use std::collections::BTreeSet;
use std::process::ExitCode;

use readcast_core::{Envelope, Projection as _, topic_matches};

use super::super::{CommandError, Context, connect, output};
use super::sample;
use crate::files::FileProjection;
use crate::source::Sampled;
use crate::text::{counted, escape};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast lint --strict\n  readcast lint order_summary --from-log")]
pub(in crate::cli) struct Arguments {
    /// The projections to look at [default: all of the folder]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// End with exit code 1 if anything is suspicious
    #[arg(long)]
    strict: bool,
    /// Read events of the topics as well, and name types of events and fields that none of them has
    #[arg(long)]
    from_log: bool,
    /// About how many records of each topic are read
    #[arg(long, default_value_t = 200, requires = "from_log")]
    records: usize,
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<ExitCode, CommandError> {
    let chosen = super::chosen(context, &arguments.names)?;
    let projections: Vec<&FileProjection> = chosen.iter().map(|(_, projection)| projection).collect();
    let mut doubts: Vec<String> = projections.iter().flat_map(|projection| projection.lint()).collect();
    if arguments.from_log {
        let sampled = sampled(context, &projections, arguments.records).await?;
        doubts.extend(doubts_about(context, &projections, &sampled));
    }
    for doubt in &doubts {
        output::line(escape(doubt))?;
    }
    output::line(format_args!(
        "{} in {}",
        counted(doubts.len() as u64, "doubt"),
        counted(chosen.len() as u64, "file")
    ))?;
    Ok(if arguments.strict && !doubts.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Records of all topics that the projections read.
async fn sampled(
    context: &Context,
    projections: &[&FileProjection],
    most: usize,
) -> Result<Vec<Sampled>, CommandError> {
    let topics: BTreeSet<&str> = projections.iter().flat_map(|projection| projection.topics()).copied().collect();
    let topics: Vec<&str> = topics.into_iter().collect();
    let source = connect::source(context).await?;
    let extents = source.extents(&topics).await.map_err(CommandError::failed)?;
    sample::sampled(context, "lint", &*source, &topics, &extents, most).await
}

/// What the files expect of events, and these do not have.
fn doubts_about(context: &Context, projections: &[&FileProjection], sampled: &[Sampled]) -> Vec<String> {
    let (events, refused) = sample::events(context, sampled);
    if let Some(first) = refused.first() {
        let records = counted(refused.len() as u64, "record");
        output::message(escape(&format!("{records} could not be read, the first at {first}")));
    }
    let mut doubts = Vec::new();
    for projection in projections {
        let is_read =
            |event: &Envelope<'_>| projection.topics().iter().any(|read| topic_matches(read, &event.position.topic));
        let of_topics: Vec<Envelope<'_>> = events.iter().filter(|event| is_read(event)).cloned().collect();
        if of_topics.is_empty() {
            output::message(format_args!("{}: no event of its topics could be read", projection.name()));
        }
        doubts.extend(projection.lint_events(&of_topics));
    }
    doubts
}
