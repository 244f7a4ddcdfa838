//! The id of a topic: another one after the topic was deleted and created again under its name. The binding wraps no
//! call for it, so librdkafka's own `DescribeTopics` is made here, and nothing else that is unsafe anywhere.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::Consumer;

use super::Client;

/// Owns a pointer that librdkafka made, and gives it back at the end.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from the constructor that belongs to this destructor, and is given back once.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// The id of `topic` as the brokers write it, in base 64. `None` where they do not say: they are too old, or busy, or do
/// not let us look. Waits for at most `timeout`.
pub(super) fn topic_id(client: &Client, topic: &str, timeout: Duration) -> Option<String> {
    let name = CString::new(topic).ok()?;
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let mut names = [name.as_ptr()];
    let native = client.client().native_ptr();
    // SAFETY: `native` lives as long as `client`; `names` outlives the call that copies it. Every pointer that is made
    // here is owned by a guard below it, in the order in which librdkafka wants them back: the event before the queue.
    // The description and its id live in the event, and the text of the id in the id, which are all read before the end.
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
        // All zeros: a broker from before topics had ids.
        text.filter(|text| text.chars().any(|c| c != 'A'))
    }
}
