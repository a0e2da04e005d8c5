//! Topics and groups as clients name them, and as the store does: `namespace/name`, or the name alone where there is no
//! namespace. No client can have a `/` in a name or in a namespace, so that no two of them ever meet in one stored name.

use std::borrow::Cow;

use foliomq_proto::v2::{Code, Resource};

use crate::caller::Caller;
use crate::status::Refusal;

/// Longest topic name of a client's, bytes; retry and dead-letter topics may be longer.
const MAX_TOPIC: usize = 127;
const MAX_GROUP_TOPIC: usize = 255;
/// Names that RocketMQ keeps for itself.
const SYSTEM_TOPICS: [&str; 8] = [
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "BenchmarkTest",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
    "CHECKPOINT_TOPIC",
    "RMQ_SYS_TRANS_HALF_TOPIC",
];
/// What other such names begin with, in either case.
const SYSTEM_PREFIX: &[u8] = b"rmq_sys_";
/// Prefixes of topics that belong to a group.
const GROUP_TOPICS: [&str; 2] = ["%RETRY%", "%DLQ%"];

/// Between a namespace and a name.
const NAMESPACE_END: char = '/';

/// A stored name as a client would say it: what our own protocol and the command line use.
pub(crate) fn resource(stored: &str) -> Resource {
    let prefix = GROUP_TOPICS
        .iter()
        .find(|prefix| stored.starts_with(**prefix));
    let prefix = prefix.copied().unwrap_or_default();
    let (namespace, name) = match stored[prefix.len()..].split_once(NAMESPACE_END) {
        Some((namespace, name)) => (namespace, format!("{prefix}{name}")),
        None => ("", stored.to_owned()),
    };
    Resource {
        resource_namespace: namespace.to_owned(),
        name,
    }
}

/// The store's name of a topic: the client's, with its namespace in front.
pub(crate) fn topic(resource: Option<&Resource>, caller: &Caller) -> Result<String, Refusal> {
    stored_topic(resource, caller).map(Cow::into_owned)
}

/// The same, without a copy where there is no namespace.
pub(crate) fn stored_topic<'a>(
    resource: Option<&'a Resource>,
    caller: &Caller,
) -> Result<Cow<'a, str>, Refusal> {
    let refuse = |what: String| Err(Refusal::new(Code::IllegalTopic, what));
    let name = resource.map_or("", |resource| resource.name.as_str());
    let start = name.as_bytes().get(..SYSTEM_PREFIX.len());
    let is_system = start.is_some_and(|start| start.eq_ignore_ascii_case(SYSTEM_PREFIX));
    if SYSTEM_TOPICS.contains(&name) || is_system {
        return refuse(format!("topic {name} is a system topic"));
    }
    let of_group = GROUP_TOPICS
        .iter()
        .find(|prefix| name.starts_with(**prefix));
    let limit = if of_group.is_some() {
        MAX_GROUP_TOPIC
    } else {
        MAX_TOPIC
    };
    let namespace = namespace(resource, caller);
    let full = scoped(namespace, name, of_group.copied());
    if name.is_empty() {
        return refuse("the topic is blank".to_owned());
    }
    if let Some(what) = alien(name) {
        return refuse(format!("topic {name:?} {what}"));
    }
    if let Some(what) = alien(namespace).or_else(|| reserved(namespace)) {
        return refuse(format!("namespace {namespace:?} {what}"));
    }
    if full.len() > limit {
        return refuse(format!(
            "topic {full:?} is longer than {limit} characters, its namespace included"
        ));
    }
    Ok(full)
}

/// The store's name of a group.
pub(crate) fn group(resource: Option<&Resource>, caller: &Caller) -> Result<String, Refusal> {
    let name = resource.map_or("", |resource| &resource.name);
    let namespace = namespace(resource, caller);
    let of_namespace = || alien(namespace).or_else(|| reserved(namespace));
    if let Some(what) = alien(name).or_else(of_namespace) {
        let what = format!("group {name:?} of namespace {namespace:?} {what}");
        return Err(Refusal::new(Code::IllegalConsumerGroup, what));
    }
    let full = scoped(namespace, name, None);
    foliomq_delivery::check_group(if name.is_empty() { name } else { &full })?;
    Ok(full.into_owned())
}

/// The resource's own namespace, or the one of the call's metadata.
fn namespace<'a>(resource: Option<&'a Resource>, caller: &'a Caller) -> &'a str {
    let own = resource.map_or("", |resource| resource.resource_namespace.as_str());
    if own.is_empty() {
        &caller.namespace
    } else {
        own
    }
}

fn scoped<'a>(namespace: &str, name: &'a str, prefix: Option<&str>) -> Cow<'a, str> {
    if namespace.is_empty() {
        return Cow::Borrowed(name);
    }
    let prefix = prefix.unwrap_or_default();
    let bare = &name[prefix.len()..];
    Cow::Owned(format!("{prefix}{namespace}{NAMESPACE_END}{bare}"))
}

/// What is wrong with the characters of a name or of a namespace, if anything is.
fn alien(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '_' | '-');
    let bad = name.chars().find(|&c| !allowed(c))?;
    Some(format!(
        "has the character {bad:?}; allowed are a-z A-Z 0-9 % | _ -"
    ))
}

/// What is wrong with the beginning of a namespace, if anything is: in a stored name the prefix of a group's topic stands
/// before the namespace, and so would be taken for it.
fn reserved(namespace: &str) -> Option<String> {
    let prefix = GROUP_TOPICS
        .iter()
        .find(|prefix| namespace.starts_with(**prefix))?;
    Some(format!(
        "begins with {prefix}, as the topics of groups do, and a namespace must not"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(namespace: &str) -> Caller {
        let mut caller = Caller::new(&http::HeaderMap::new());
        caller.namespace = namespace.to_owned();
        caller
    }

    fn resource(namespace: &str, name: &str) -> Resource {
        Resource {
            resource_namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    const LONGEST: &str = match std::str::from_utf8(&[b'x'; MAX_TOPIC]) {
        Ok(name) => name,
        Err(_) => "",
    };

    #[test]
    fn topics() {
        let name = |namespace, name| {
            topic(Some(&resource(namespace, name)), &caller("")).map_err(|r| r.code)
        };
        assert_eq!(name("", "orders"), Ok("orders".into()));
        assert_eq!(name("", LONGEST), Ok(LONGEST.into()));
        assert_eq!(name("ns", "%DLQ%g"), Ok("%DLQ%ns/g".into()));
        for bad in [
            "",
            "a b",
            "a.b",
            "a/b",
            "TBW102",
            "rmq_sys_x",
            "RMQ_SYS_x",
            &"x".repeat(128),
        ] {
            assert_eq!(name("", bad), Err(Code::IllegalTopic), "{bad}");
        }
        assert_eq!(
            topic(None, &caller("")).unwrap_err().code,
            Code::IllegalTopic
        );
        assert_eq!(
            topic(Some(&resource("", "t")), &caller("ns")).unwrap(),
            "ns/t"
        );
    }

    #[test]
    fn a_namespace_and_a_name_never_meet_another_pair() {
        let parts = [
            "a", "b", "a%b", "b%a", "a-b", "%DLQ%a", "%RETRY%a", "%DLQ%a%b",
        ];
        let spaces = parts[..5].iter().copied().chain([""]);
        let pairs: Vec<(&str, &str)> = spaces
            .flat_map(|space| parts.iter().map(move |name| (space, *name)))
            .collect();
        let stored = |pair: &(&str, &str)| {
            let resource = resource(pair.0, pair.1);
            let topic = topic(Some(&resource), &caller("")).unwrap();
            // The way back, which the command line takes.
            assert_eq!(super::resource(&topic), resource, "{topic}");
            let group = group(Some(&resource), &caller("")).unwrap();
            (topic, group)
        };
        let names: Vec<(String, String)> = pairs.iter().map(stored).collect();
        let topics: std::collections::HashSet<_> = names.iter().map(|pair| &pair.0).collect();
        let groups: std::collections::HashSet<_> = names.iter().map(|pair| &pair.1).collect();
        assert_eq!((topics.len(), groups.len()), (pairs.len(), pairs.len()));
    }

    #[test]
    fn a_namespace_has_the_characters_of_a_name() {
        for bad in ["a/b", "a b", "ä", "%DLQ%a", "%RETRY%"] {
            let resource = resource(bad, "t");
            let code = topic(Some(&resource), &caller("")).unwrap_err().code;
            assert_eq!(code, Code::IllegalTopic, "{bad}");
            let code = group(Some(&resource), &caller("")).unwrap_err().code;
            assert_eq!(code, Code::IllegalConsumerGroup, "{bad}");
        }
    }

    #[test]
    fn groups() {
        let name = |name: &str| group(Some(&resource("", name)), &caller("")).map_err(|r| r.code);
        assert_eq!(name("billing"), Ok("billing".into()));
        for bad in ["", "a b", "a/b", "CID_RMQ_SYS_x", &"x".repeat(121)] {
            assert_eq!(name(bad), Err(Code::IllegalConsumerGroup), "{bad}");
        }
    }
}
