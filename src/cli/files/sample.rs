//! Events at both ends of topics.

use readcast_core::Envelope;

use super::super::{CommandError, Context};
use crate::decode;
use crate::source::{Extents, Sampled, Source, first_records, last_records};

/// Reads about the first `most` records of each topic, and the last one of each partition, as a member of a consumer group
/// that `command` names.
pub(super) async fn sampled(
    context: &Context,
    command: &str,
    source: &dyn Source,
    topics: &[&str],
    extents: &Extents,
    most: usize,
) -> Result<Vec<Sampled>, CommandError> {
    let group = group(context, command);
    let mut sampled = first_records(source, &group, topics, extents, most).await.map_err(CommandError::failed)?;
    let last = last_records(source, &group, topics, extents, &sampled).await.map_err(CommandError::failed)?;
    sampled.extend(last);
    Ok(sampled)
}

/// A consumer group for one run of the command.
pub(super) fn group(context: &Context, command: &str) -> String {
    format!("{}.{command}.{:08x}", context.config.projector.app, fastrand::u32(..))
}

/// The events in the records, and the records that hold none, each with its position and the reason.
pub(super) fn events<'r>(context: &'r Context, sampled: &'r [Sampled]) -> (Vec<Envelope<'r>>, Vec<String>) {
    let (mut events, mut refused) = (Vec::new(), Vec::new());
    for (partition, record) in sampled {
        let position = partition.at(record.offset);
        match decode::decode(context.decoders.of(&partition.topic), &position, record) {
            Ok(decoded) => events.extend(decoded.iter().cloned()),
            Err(reason) => refused.push(format!("{position}: {reason}")),
        }
    }
    (events, refused)
}
