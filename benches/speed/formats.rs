//! What reading a record of each format takes beside readcast's own: from the bytes to the type of a projection, on one thread.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use readcast::internals::config::{Config, Environment, Overrides};
use readcast::internals::decode::{Decoders, Formats};
use readcast::source::Record;
use readcast::{Decimal, TopicPartition};
use serde::{Deserialize, Serialize};
use serde_avro_fast::ser::SerializerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::report::Report;
use crate::row::{Row, Target};
use crate::settings::Settings;

const GROUP: &str = "formats";
/// The format that the others are measured beside.
const OWN: &str = "envelope";
const RECORDS: usize = 20_000;
/// How often the records are read in one run.
const ROUNDS: usize = 10;

const AVRO: &str = r#"{"type":"record","name":"Order","fields":[{"name":"order_id","type":"string"},{"name":"customer_id","type":"string"},{"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}},{"name":"placed_at","type":"long"},{"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[{"name":"sku","type":"string"},{"name":"quantity","type":"long"},{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}}]}}}]}"#;
const PROTOBUF: &str = r#"syntax = "proto3"; message Order { string order_id = 1; string customer_id = 2; string total = 3; int64 placed_at = 4; repeated Item items = 5; message Item { string sku = 1; int64 quantity = 2; string price = 3; } }"#;
/// How the topics are read, each with records of the format in its name.
const TOPICS: &str = r#"
[topics.json]
format = "json"
type = "header:type"
event_id = "header:id"
timestamp = "header:time as millis"
[topics.cloudevents-binary]
format = "cloudevents"
[topics.cloudevents-structured]
format = "cloudevents"
[topics.debezium-outbox]
format = "debezium-outbox"
[topics.avro]
format = "avro"
event_id = "header:id"
[topics.protobuf]
format = "protobuf"
event_id = "header:id"
[topics.json-schema]
format = "json-schema"
type = "header:type"
event_id = "header:id"
"#;

#[derive(Deserialize, Serialize)]
struct Order {
    order_id: String,
    customer_id: String,
    total: Decimal,
    placed_at: i64,
    items: Vec<Item>,
}

#[derive(Deserialize, Serialize)]
struct Item {
    sku: String,
    quantity: i64,
    price: Decimal,
}

pub(crate) async fn run(settings: &Settings) {
    if !settings.want(GROUP, "decode") {
        return;
    }
    let mut report = Report::begin(GROUP).await;
    let mut server = JoinSet::new();
    let decoders = decoders(registry(&mut server).await);
    let logs: BTreeMap<&str, Vec<Record>> = topics();
    for (topic, records) in &logs {
        decoders.prepare(topic, records).await.expect("the registry answers");
    }
    let mut rates = BTreeMap::<&str, Vec<f64>>::new();
    for _ in 0..settings.runs {
        for (topic, records) in &logs {
            rates.entry(topic).or_default().push(rate(&decoders, topic, records));
        }
    }
    let own = rates.remove(OWN).expect("it is one of them");
    for (format, rates) in rates {
        let row = Row::new(&format!("decode and deserialize, {format}"), "events/s", rates);
        let row = row.against("readcast's own JSON", own.clone());
        report.add(if format == "avro" { row.target(Target::RatioAtLeast(1.0)) } else { row });
    }
    report.end();
}

/// Events per second.
fn rate(decoders: &Decoders, topic: &str, records: &[Record]) -> f64 {
    let (partition, begun, mut quantity) = (TopicPartition::new(topic, 0), Instant::now(), 0);
    for _ in 0..ROUNDS {
        for record in records {
            let events = decoders.of(topic).decode(&partition.at(record.offset), record).expect("an event");
            let order: Order = events[0].data().expect("an order");
            quantity += order.items.iter().map(|item| item.quantity).sum::<i64>();
        }
    }
    let read = records.len() * ROUNDS;
    assert_eq!(quantity, read as i64 * 6, "every event was read whole");
    read as f64 / begun.elapsed().as_secs_f64()
}

/// The records of each topic, the same orders in each format.
fn topics() -> BTreeMap<&'static str, Vec<Record>> {
    let mut topics = BTreeMap::<_, Vec<Record>>::new();
    for number in 0..RECORDS {
        let order = order(number);
        let json = serde_json::to_string(&order).expect("JSON");
        let id = format!("evt_{number}");
        let header = |name: &str, text: &str| (name.to_owned(), Some(Bytes::from(text.to_owned())));
        let own = [("type", "Order"), ("id", &*id), ("time", "1716215400123")]
            .map(|(name, text)| header(name, text))
            .to_vec();
        let outbox = [header("id", &id), header("eventType", "Order")].to_vec();
        let attributes = [
            ("specversion", "1.0"),
            ("id", &*id),
            ("source", "/shop"),
            ("type", "Order"),
            ("time", "2024-05-20T14:30:00Z"),
        ];
        let in_headers = attributes.map(|(name, text)| header(&format!("ce_{name}"), text)).to_vec();
        let members: String = attributes.map(|(name, text)| format!(r#""{name}":"{text}","#)).concat();
        let envelope =
            format!(r#"{{"event_id":"{id}","type":"Order","timestamp":"2024-05-20T14:30:00Z","data":{json}}}"#);
        let framed = |schema: u8, value: &[u8]| Bytes::from([&[0, 0, 0, 0, schema], value].concat());
        let values = [
            (OWN, Bytes::from(envelope), Vec::new()),
            ("json", Bytes::from(json.clone()), own.clone()),
            ("cloudevents-binary", Bytes::from(json.clone()), in_headers),
            ("cloudevents-structured", Bytes::from(format!(r#"{{{members}"data":{json}}}"#)), Vec::new()),
            ("debezium-outbox", Bytes::from(serde_json::to_string(&json).expect("JSON")), outbox),
            ("avro", framed(1, &avro(&order)), own.clone()),
            ("protobuf", framed(2, &protobuf(&order)), own.clone()),
            ("json-schema", framed(3, json.as_bytes()), own),
        ];
        for (topic, value, headers) in values {
            let (offset, timestamp) = (number as i64, Some(1_716_215_400_123));
            let record = Record { offset, value: Some(value), headers, timestamp, ..Record::default() };
            topics.entry(topic).or_default().push(record);
        }
    }
    topics
}

fn order(number: usize) -> Order {
    let item = |quantity: i64| Item { sku: format!("sku_{}", number % 977), quantity, price: Decimal::new(1_999, 2) };
    Order {
        order_id: format!("ord_{number}"),
        customer_id: format!("cust_{}", number % 1_000),
        total: Decimal::new(11_994, 2),
        placed_at: 1_716_215_400_123,
        items: vec![item(1), item(2), item(3)],
    }
}

fn avro(order: &Order) -> Vec<u8> {
    let schema: serde_avro_fast::Schema = AVRO.parse().expect("a schema");
    serde_avro_fast::to_datum_vec(order, &mut SerializerConfig::new(&schema)).expect("Avro")
}

fn protobuf(order: &Order) -> Vec<u8> {
    fn text(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).ok().filter(|length| *length < 128).expect("one byte");
        [&[number << 3 | 2, length], content].concat()
    }
    fn number(field: u8, mut value: i64) -> Vec<u8> {
        let mut bytes = vec![field << 3];
        while value > 0x7f {
            bytes.push(0x80 | (value & 0x7f) as u8);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }
    let item = |item: &Item| {
        let fields =
            [text(1, item.sku.as_bytes()), number(2, item.quantity), text(3, item.price.to_string().as_bytes())];
        text(5, &fields.concat())
    };
    let fields = [
        // The first message of the schema.
        vec![0],
        text(1, order.order_id.as_bytes()),
        text(2, order.customer_id.as_bytes()),
        text(3, order.total.to_string().as_bytes()),
        number(4, order.placed_at),
        order.items.iter().flat_map(item).collect(),
    ];
    fields.concat()
}

/// The decoders of the topics, which ask the registry at `url` for schemas.
fn decoders(url: String) -> Decoders {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("readcast.toml");
    std::fs::write(&path, format!("[registry]\nurl = '{url}'\n{TOPICS}")).expect("a file");
    let overrides = Overrides { config: Some(path), ..Overrides::default() };
    let environment: Environment = Vec::<(&str, String)>::new().into_iter().collect();
    let config = Config::load(&overrides, &environment, &[]).expect("a configuration");
    Formats::default().decoders(config.topics(), config.other_topics(), &config.registry).expect("formats")
}

/// A registry with three schemas. Returns its URL.
async fn registry(server: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    server.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 1_024];
            let read = stream.read(&mut head).await.unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let (text, kind) = match head.split(' ').nth(1) {
                Some("/schemas/ids/1") => (AVRO, "AVRO"),
                Some("/schemas/ids/2") => (PROTOBUF, "PROTOBUF"),
                _ => ("{}", "JSON"),
            };
            let text = serde_json::to_string(text).expect("a text");
            let body = format!(r#"{{"schema":{text},"schemaType":"{kind}"}}"#);
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}
