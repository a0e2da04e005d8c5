//! A topic's route in the words of the older protocol, for the tools of operators. That protocol itself is not spoken here.

use foliomq_store::Permission;
use serde_json::json;

use crate::broker::Broker;
use crate::route::{BROKER, MASTER, address};
use crate::status::Refusal;

/// Bits of a permission there.
const READ: u8 = 4;
const WRITE: u8 = 2;

/// JSON: the queues that may be read and written, and this broker as the only one. The topic is not made for it.
///
/// # Errors
///
/// A topic that is not there.
pub(crate) fn of_topic(broker: &Broker, topic: &str) -> Result<String, Refusal> {
    let unknown = || foliomq_store::StoreError::UnknownTopic {
        topic: topic.to_owned(),
    };
    let found = broker.store.topic(topic).ok_or_else(unknown)?;
    let queues = json!({
        "brokerName": BROKER,
        "readQueueNums": found.queues,
        "writeQueueNums": found.queues,
        "perm": bits(found.settings.permission),
        "topicSysFlag": 0,
    });
    let here = json!({
        "cluster": BROKER,
        "brokerName": BROKER,
        "brokerAddrs": { (MASTER.to_string()): address(broker) },
    });
    let route = json!({
        "orderTopicConf": "",
        "queueDatas": [queues],
        "brokerDatas": [here],
        "filterServerTable": {},
    });
    Ok(route.to_string())
}

fn bits(permission: Permission) -> u8 {
    let read = if permission.readable() { READ } else { 0 };
    let write = if permission.writable() { WRITE } else { 0 };
    read | write
}
