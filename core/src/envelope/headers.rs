//! The headers of a record.

use std::borrow::Cow;

use bytes::Bytes;

/// A header of a record: its name and its optional value.
pub type Header = (String, Option<Bytes>);

/// The value of the header `name`. The last one counts where there are several, as in Kafka's own clients. An empty one
/// counts as missing.
pub fn header<'h>(headers: &'h [Header], name: &str) -> Option<&'h [u8]> {
    let (_, value) = headers.iter().rfind(|(other, _)| other == name)?;
    value.as_deref().filter(|value| !value.is_empty())
}

/// The trace to which an event belongs, in the texts of W3C Trace Context. They are not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext<'a> {
    /// The trace and the span of the producer: `00-TRACE-SPAN-FLAGS`.
    pub traceparent: Cow<'a, str>,
    /// What tracing systems add to it.
    pub tracestate: Option<Cow<'a, str>>,
}

impl<'a> TraceContext<'a> {
    /// The context in the headers `traceparent` and `tracestate`, if they hold one.
    pub fn in_headers(headers: &'a [Header]) -> Option<Self> {
        let text = |name| std::str::from_utf8(header(headers, name)?).ok().map(Cow::Borrowed);
        Some(Self { traceparent: text("traceparent")?, tracestate: text("tracestate") })
    }
}
