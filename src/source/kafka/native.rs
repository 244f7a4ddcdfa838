//! Functions of librdkafka that its Rust binding lacks: topic ids, leader epochs of offsets, and consumer events with
//! all their data. (The binding keeps only the code of an error.) This is the only unsafe code. It interprets nothing.
//!
//! Soundness: a [`Queue`] borrows its consumer, an [`Event`] borrows its queue, and the data of an event borrows the
//! event or is a copy. An [`Owned`] holds every pointer that librdkafka transfers to the caller, and frees it once.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

use super::Client;
use super::pool::Pool;
use crate::source::{Header, Record};

/// Owns a pointer of librdkafka and frees it when dropped.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from the constructor that belongs to this destructor, and is freed once.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// The event queue of a consumer, the one that its own `poll` reads.
pub(super) struct Queue<'c> {
    queue: Owned<rd::rd_kafka_queue_t>,
    consumer: PhantomData<&'c ()>,
}

impl<'c> Queue<'c> {
    /// The queue of a consumer that is a member of a group. Polling the queue counts as polling the consumer.
    pub(super) fn of<C: ConsumerContext>(consumer: &'c BaseConsumer<C>) -> Self {
        // SAFETY: the consumer outlives the queue, which borrows it.
        let queue = unsafe { rd::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        Self { queue: Owned(queue, rd::rd_kafka_queue_destroy), consumer: PhantomData }
    }

    /// The next event. Waits for `timeout` at most.
    pub(super) fn poll(&self, timeout: Duration) -> Option<Event<'_>> {
        if self.queue.0.is_null() {
            return None;
        }
        // SAFETY: the queue is not null, and it borrows its consumer.
        let event = unsafe { rd::rd_kafka_queue_poll(self.queue.0, milliseconds(timeout)) };
        (!event.is_null()).then(|| Event { event: Owned(event, rd::rd_kafka_event_destroy), queue: PhantomData })
    }
}

/// An event of a consumer.
pub(super) struct Event<'q> {
    event: Owned<rd::rd_kafka_event_t>,
    queue: PhantomData<&'q ()>,
}

/// The data of an event.
pub(super) enum ConsumerEvent<'e> {
    /// A copy of a record.
    Record { topic: Cow<'e, str>, partition: i32, leader_epoch: Option<i32>, record: Record },
    /// An error, or the end of a partition.
    Failed(ClientError),
    /// The group assigned partitions to the consumer.
    Assigned(Vec<(String, i32)>),
    /// The group revoked partitions of the consumer.
    Revoked(Vec<(String, i32)>),
    /// A log line with its syslog level.
    Log { level: i32, facility: Cow<'e, str>, text: Cow<'e, str> },
    /// Any other event, to be ignored.
    Other,
}

/// An error of librdkafka.
#[derive(Clone, Debug)]
pub(super) struct ClientError {
    /// The error code.
    pub(super) code: RDKafkaErrorCode,
    /// The message, with offsets.
    pub(super) reason: String,
    /// Whether the client can no longer be used.
    pub(super) fatal: bool,
    /// The name of the topic in Kafka and the partition, if the error concerns one.
    pub(super) partition: Option<(String, i32)>,
    /// The offset of the error in that partition. Negative if unknown.
    pub(super) offset: i64,
}

impl Event<'_> {
    /// Reads the event. Call it once: a second call finds no record. The bytes of a record are copied into `pool`.
    pub(super) fn read(&mut self, pool: &mut Pool) -> ConsumerEvent<'_> {
        let event = self.event.0;
        // SAFETY: the event is alive as long as `self`, which what is returned borrows; each reader is called for the
        // kind of event that it is for.
        unsafe {
            match rd::rd_kafka_event_type(event) {
                rd::RD_KAFKA_EVENT_FETCH => message(event, pool),
                rd::RD_KAFKA_EVENT_ERROR => ConsumerEvent::Failed(failed(event)),
                rd::RD_KAFKA_EVENT_REBALANCE => rebalance(event),
                rd::RD_KAFKA_EVENT_LOG => log(event),
                _ => ConsumerEvent::Other,
            }
        }
    }
}

/// # Safety
/// `event` is a fetch event that outlives `'e`.
unsafe fn message<'e>(event: *mut rd::rd_kafka_event_t, pool: &mut Pool) -> ConsumerEvent<'e> {
    // SAFETY: the message and all that it points to live in the event; its topic is set where it has no error.
    unsafe {
        let Some(message) = rd::rd_kafka_event_message_next(event).as_ref() else { return ConsumerEvent::Other };
        if message.err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return ConsumerEvent::Failed(failed(event));
        }
        let leader_epoch = rd::rd_kafka_message_leader_epoch(message);
        let record = Record {
            offset: message.offset,
            key: bytes(message.key, message.key_len).map(|key| pool.copy(key)),
            value: bytes(message.payload, message.len).map(|value| pool.copy(value)),
            headers: headers(message, pool),
            timestamp: timestamp(message),
            remark: None,
        };
        ConsumerEvent::Record {
            topic: text(rd::rd_kafka_topic_name(message.rkt)),
            partition: message.partition,
            leader_epoch: (leader_epoch >= 0).then_some(leader_epoch),
            record,
        }
    }
}

/// # Safety
/// `message` is a message of a consumer.
unsafe fn timestamp(message: &rd::rd_kafka_message_t) -> Option<i64> {
    let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the call reads the message and writes `kind`.
    let milliseconds = unsafe { rd::rd_kafka_message_timestamp(message, &raw mut kind) };
    let known = kind != rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && milliseconds != -1;
    known.then_some(milliseconds)
}

/// # Safety
/// `message` is a message of a consumer.
unsafe fn headers(message: &rd::rd_kafka_message_t, pool: &mut Pool) -> Vec<Header> {
    let mut list = ptr::null_mut();
    // SAFETY: the list and all names and values in it live in the message.
    unsafe {
        // Without headers the call does not write `list`.
        rd::rd_kafka_message_headers(message, &raw mut list);
        let count = if list.is_null() { 0 } else { rd::rd_kafka_header_cnt(list) };
        let header = |index| {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            rd::rd_kafka_header_get_all(list, index, &raw mut name, &raw mut value, &raw mut length);
            (text(name).into_owned(), bytes(value, length).map(|value| pool.copy(value)))
        };
        (0..count).map(header).collect()
    }
}

/// # Safety
/// `event` is an error or contains one.
unsafe fn failed(event: *mut rd::rd_kafka_event_t) -> ClientError {
    // SAFETY: everything is copied; the caller owns the partition.
    unsafe {
        let partition = Owned(rd::rd_kafka_event_topic_partition(event), rd::rd_kafka_topic_partition_destroy);
        let is_error = rd::rd_kafka_event_type(event) == rd::RD_KAFKA_EVENT_ERROR;
        ClientError {
            code: rd::rd_kafka_event_error(event).into(),
            reason: text(rd::rd_kafka_event_error_string(event)).into_owned(),
            fatal: is_error && rd::rd_kafka_event_error_is_fatal(event) != 0,
            partition: partition.0.as_ref().map(|at| (text(at.topic).into_owned(), at.partition)),
            offset: partition.0.as_ref().map_or(-1, |at| at.offset),
        }
    }
}

/// # Safety
/// `event` is a rebalance.
unsafe fn rebalance<'e>(event: *mut rd::rd_kafka_event_t) -> ConsumerEvent<'e> {
    use rd::rd_kafka_resp_err_t as Code;
    // SAFETY: the list and its elements live in the event, and are copied.
    let (code, partitions) = unsafe {
        let list = rd::rd_kafka_event_topic_partition_list(event).as_ref();
        let elements = list.map_or(0..0, |list| 0..usize::try_from(list.cnt).unwrap_or(0));
        let element = |index| list.map(|list| &*list.elems.add(index));
        let partitions = elements.filter_map(element).map(|at| (text(at.topic).into_owned(), at.partition));
        (rd::rd_kafka_event_error(event), partitions.collect())
    };
    match code {
        Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => ConsumerEvent::Assigned(partitions),
        Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => ConsumerEvent::Revoked(partitions),
        _ => ConsumerEvent::Other,
    }
}

/// # Safety
/// `event` is a log line and outlives `'e`.
unsafe fn log<'e>(event: *mut rd::rd_kafka_event_t) -> ConsumerEvent<'e> {
    let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the call writes the three variables, and the texts live in the event.
    unsafe {
        rd::rd_kafka_event_log(event, &raw mut facility, &raw mut line, &raw mut level);
        ConsumerEvent::Log { level, facility: text(facility), text: text(line) }
    }
}

/// # Safety
/// `at` is null, or a zero-terminated text that lives as long as `'e`.
unsafe fn text<'e>(at: *const c_char) -> Cow<'e, str> {
    // SAFETY: guaranteed by the caller.
    if at.is_null() { Cow::Borrowed("") } else { unsafe { CStr::from_ptr(at) }.to_string_lossy() }
}

/// # Safety
/// `at` is null, or points to `length` bytes that live as long as `'e`.
unsafe fn bytes<'e>(at: *const c_void, length: usize) -> Option<&'e [u8]> {
    // SAFETY: guaranteed by the caller.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast(), length) })
}

/// Sets the leader epoch of a partition's offset in `list`. Does nothing if the partition is not in the list.
pub(super) fn set_leader_epoch(list: &mut TopicPartitionList, topic: &str, partition: i32, leader_epoch: i32) {
    let Ok(topic) = CString::new(topic) else { return };
    // SAFETY: `list` is borrowed exclusively for the call, and the element lives in it.
    unsafe {
        let element = rd::rd_kafka_topic_partition_list_find(list.ptr(), topic.as_ptr(), partition);
        if !element.is_null() {
            rd::rd_kafka_topic_partition_set_leader_epoch(element, leader_epoch);
        }
    }
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// The id of `topic` in base 64. It changes when the topic is deleted and created again under the same name. `None` if
/// the brokers are too old, too busy, or refuse access. Waits for `timeout` at most.
pub(super) fn topic_id(client: &Client, topic: &str, timeout: Duration) -> Option<String> {
    let name = CString::new(topic).ok()?;
    let milliseconds = milliseconds(timeout);
    let mut names = [name.as_ptr()];
    let native = client.client().native_ptr();
    // SAFETY: `native` lives as long as `client`; `names` outlives the call that copies it. A guard owns every pointer
    // that is created here. The guards are dropped in the order that librdkafka requires: the event before the queue.
    // The description and its id live in the event, and the text of the id in the id. All are read before the event is
    // dropped.
    unsafe {
        let topics = Owned(
            rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1),
            rd::rd_kafka_TopicCollection_destroy,
        );
        let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = Owned(rd::rd_kafka_AdminOptions_new(native, operation), rd::rd_kafka_AdminOptions_destroy);
        rd::rd_kafka_AdminOptions_set_request_timeout(options.0, milliseconds, ptr::null_mut(), 0);
        let queue = Owned(rd::rd_kafka_queue_new(native), rd::rd_kafka_queue_destroy);
        rd::rd_kafka_DescribeTopics(native, topics.0, options.0, queue.0);
        let event = Owned(rd::rd_kafka_queue_poll(queue.0, milliseconds), rd::rd_kafka_event_destroy);
        if event.0.is_null() {
            return None;
        }
        let result = rd::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let descriptions = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if count != 1 {
            return None;
        }
        let description = *descriptions;
        let error = rd::rd_kafka_TopicDescription_error(description);
        if !error.is_null() && rd::rd_kafka_error_code(error) != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let id = rd::rd_kafka_TopicDescription_topic_id(description);
        if id.is_null() {
            return None;
        }
        let text = rd::rd_kafka_Uuid_base64str(id);
        let text = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
        // All zeros: the broker is older than topic ids.
        text.filter(|text| text.chars().any(|c| c != 'A'))
    }
}
