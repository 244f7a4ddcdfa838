//! Parked records, byte for byte, a page at a time.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use readcast_core::Timestamp;
use serde::Serialize;

use super::parked_in;
use crate::control::ControlError;
use crate::store::{GenerationStatus, ParkedRecord, ParkedSequence, PoisonClass, Store};

/// An export that is under way.
pub struct Export<'a> {
    store: &'a dyn Store,
    generation: GenerationStatus,
    /// The keys whose records are still to be read.
    sequences: VecDeque<ParkedSequence>,
    /// The offset in the first of them from which the next page begins.
    from: Option<i64>,
}

impl<'a> Export<'a> {
    pub(super) fn new(store: &'a dyn Store, generation: GenerationStatus, sequences: Vec<ParkedSequence>) -> Self {
        Self { store, generation, sequences: sequences.into(), from: None }
    }

    /// The next records, in the order of the log within each key. `None` after the last one.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer.
    pub async fn next_page(&mut self) -> Result<Option<Vec<ExportedRecord>>, ControlError> {
        while let Some(sequence) = self.sequences.front() {
            let ParkedSequence { partition, id, first_offset, .. } = sequence;
            let (from, most) = (self.from.unwrap_or(*first_offset), page_length(sequence));
            let page = self.store.waiting(parked_in(&self.generation), partition, id, from, most).await?;
            if let Some(last) = page.records.last() {
                self.from = Some(last.letter.record.offset + 1);
                return Ok(Some(page.records.iter().map(ExportedRecord::of).collect()));
            }
            self.sequences.pop_front();
            self.from = None;
        }
        Ok(None)
    }
}

/// How many records of a sequence make a page: about as many as fit into a few megabytes.
fn page_length(sequence: &ParkedSequence) -> usize {
    const PAGE_BYTES: u64 = 8 << 20;
    let each = (sequence.bytes / sequence.records.max(1)).max(1);
    usize::try_from(PAGE_BYTES / each).unwrap_or(usize::MAX).clamp(1, 500)
}

/// One parked record. Fields that the record lacks are null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportedRecord {
    /// The topic of the record.
    pub topic: String,
    /// The partition of the record in its topic.
    pub partition: i32,
    /// The offset of the record in its partition.
    pub offset: i64,
    /// The timestamp of the record, in RFC 3339.
    pub timestamp: Option<Timestamp>,
    /// The bytes of the record's key, in base64.
    pub key: Option<String>,
    /// The bytes of the record's value, in base64.
    pub value: Option<String>,
    /// The headers of the record, in their order.
    pub headers: Vec<ExportedHeader>,
    /// The record's key as text, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_text: Option<String>,
    /// The record's value as text, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_text: Option<String>,
    /// The class of the error; null if the record only waits for an earlier record of its key.
    pub class: Option<PoisonClass>,
    /// The error message. It may quote the record.
    pub reason: Option<String>,
    /// The number of retries.
    pub attempts: u32,
    /// When the record was parked, in RFC 3339.
    pub parked_at: String,
}

/// A header of a parked record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportedHeader {
    /// The name of the header.
    pub name: String,
    /// The bytes of the header's value, in base64.
    pub value: Option<String>,
}

impl ExportedRecord {
    fn of(parked: &ParkedRecord) -> Self {
        let (letter, record) = (&parked.letter, &parked.letter.record);
        let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
        let text = |bytes: &[u8]| str::from_utf8(bytes).ok().map(str::to_owned);
        let headers = record
            .headers
            .iter()
            .map(|(name, value)| ExportedHeader { name: name.to_string(), value: value.as_deref().map(base64) });
        Self {
            topic: letter.partition.topic.to_string(),
            partition: letter.partition.partition,
            offset: record.offset,
            timestamp: record.timestamp.and_then(|millis| Timestamp::from_micros(millis.checked_mul(1000)?)),
            key: record.key.as_deref().map(base64),
            value: record.value.as_deref().map(base64),
            headers: headers.collect(),
            key_text: record.key.as_deref().and_then(text),
            value_text: record.value.as_deref().and_then(text),
            class: letter.cause.as_ref().map(|cause| cause.class),
            reason: letter.cause.as_ref().map(|cause| cause.reason.clone()),
            attempts: parked.attempts,
            parked_at: parked.parked_at.clone(),
        }
    }
}
