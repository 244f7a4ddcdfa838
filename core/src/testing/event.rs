//! Events for tests.

use crate::Header;

/// An event of a test. [`event`] makes one in the plain JSON form; a text is taken as the JSON of an event as it is.
#[derive(Clone, Debug, Default)]
pub struct TestEvent {
    form: Form,
    pub(super) topic: Option<String>,
    pub(super) partition: Option<i32>,
    pub(super) key: Option<String>,
    pub(super) headers: Vec<Header>,
}

#[derive(Clone, Debug)]
enum Form {
    Plain {
        id: Option<String>,
        event_type: String,
        version: u32,
        at: Option<String>,
        correlation_id: Option<String>,
        data: String,
    },
    Json(String),
}

impl Default for Form {
    fn default() -> Self {
        Self::Json(String::new())
    }
}

/// An event in the plain JSON form with this `data`, a JSON text. [`given`](super::given) fills in id and timestamp from
/// the event's index: `evt_0` at 2024-01-01T00:00:00Z, `evt_1` one second later, and so on.
///
/// ```
/// use readcast_core::testing::event;
///
/// event("AccountOpened", r#"{"account_id":"a1"}"#).topic("accounts").key("a1").version(2).at("2024-05-20T14:30:00Z");
/// ```
pub fn event(event_type: &str, data: &str) -> TestEvent {
    let event_type = event_type.to_owned();
    let form = Form::Plain { id: None, event_type, version: 1, at: None, correlation_id: None, data: data.to_owned() };
    TestEvent { form, ..TestEvent::default() }
}

impl TestEvent {
    /// The topic of the record. Without one, it is the projection's first topic.
    #[must_use]
    pub fn topic(self, topic: &str) -> Self {
        Self { topic: Some(topic.to_owned()), ..self }
    }

    /// The key of the record. Records with one key are in one partition; each key has a partition of its own.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    /// The partition of the record, whatever its key. A record with neither is in partition 0.
    #[must_use]
    pub fn partition(self, partition: i32) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// A header of the record, behind those that it has.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), Some(value.to_owned().into())));
        self
    }

    /// The id of the event. It has no effect on an event given as a text.
    #[must_use]
    pub fn id(mut self, event_id: &str) -> Self {
        if let Form::Plain { id, .. } = &mut self.form {
            *id = Some(event_id.to_owned());
        }
        self
    }

    /// The version of the event's schema; 1 without this. It has no effect on an event given as a text.
    #[must_use]
    pub fn version(mut self, number: u32) -> Self {
        if let Form::Plain { version, .. } = &mut self.form {
            *version = number;
        }
        self
    }

    /// When the event happened, in RFC 3339. It has no effect on an event given as a text.
    #[must_use]
    pub fn at(mut self, timestamp: &str) -> Self {
        if let Form::Plain { at, .. } = &mut self.form {
            *at = Some(timestamp.to_owned());
        }
        self
    }

    /// The id that connects the events of one process. It has no effect on an event given as a text.
    #[must_use]
    pub fn correlation_id(mut self, id: &str) -> Self {
        if let Form::Plain { correlation_id, .. } = &mut self.form {
            *correlation_id = Some(id.to_owned());
        }
        self
    }

    /// The JSON text of the event at this index among those of the test.
    pub(super) fn json(&self, index: usize) -> String {
        match &self.form {
            Form::Json(text) => text.clone(),
            Form::Plain { id, event_type, version, at, correlation_id, data } => {
                let text = |text: &str| serde_json::Value::from(text).to_string();
                let id = text(&id.clone().unwrap_or_else(|| format!("evt_{index}")));
                let at = text(&at.clone().unwrap_or_else(|| time(index)));
                let correlation_id =
                    correlation_id.iter().map(|id| format!(r#","correlation_id":{}"#, text(id))).collect::<String>();
                let event_type = text(event_type);
                format!(
                    r#"{{"event_id":{id},"type":{event_type},"version":{version},"timestamp":{at}{correlation_id},"data":{data}}}"#
                )
            }
        }
    }
}

/// The first second of 2024, and a second later for each index.
fn time(index: usize) -> String {
    let (minutes, seconds) = (index / 60, index % 60);
    format!("2024-01-01T{:02}:{:02}:{seconds:02}Z", minutes / 60, minutes % 60)
}

impl From<&TestEvent> for TestEvent {
    fn from(event: &TestEvent) -> Self {
        event.clone()
    }
}

impl From<String> for TestEvent {
    fn from(json: String) -> Self {
        Self { form: Form::Json(json), ..Self::default() }
    }
}

impl From<&str> for TestEvent {
    fn from(json: &str) -> Self {
        json.to_owned().into()
    }
}

impl From<&String> for TestEvent {
    fn from(json: &String) -> Self {
        json.clone().into()
    }
}
