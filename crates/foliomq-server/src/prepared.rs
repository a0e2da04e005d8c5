//! The messages of a request, completed and ready to be stored.

use foliomq_proto::v2::{Code, Digest, DigestType, Encoding, Message, SystemProperties};
use foliomq_store::TopicType;
use md5::{Digest as _, Md5};
use prost::Message as _;
use sha1::Sha1;

use crate::properties::{clear_server_fields, is_hex, md5_digest, timestamp, unix_ms, upper_hex};
use crate::send::check_type;
use crate::status::Refusal;
use crate::validate;

/// All messages of one request, as it came. Their bodies are parts of the request's buffer, from which the store copies them into
/// its page; their properties are encoded into one buffer.
#[derive(Debug)]
pub(crate) struct Completed {
    messages: Vec<Message>,
    properties: Vec<u8>,
    /// Of each message: where its user properties end there, and where its system properties do.
    ends: Vec<(usize, usize)>,
}

/// A message that is found good: its completed properties, and what is stored.
pub(crate) struct Prepared<'a> {
    pub(crate) system: &'a SystemProperties,
    pub(crate) stored: foliomq_store::Message<'a>,
}

impl Completed {
    /// For a topic of this type.
    pub(crate) fn new(mut messages: Vec<Message>, kind: TopicType) -> Result<Self, Refusal> {
        let mut properties = Vec::new();
        let mut ends = Vec::with_capacity(messages.len());
        for message in &mut messages {
            ends.push(add(&mut properties, message, kind)?);
        }
        Ok(Self {
            messages,
            properties,
            ends,
        })
    }

    /// What is made `of` each, with what is stored of it.
    pub(crate) fn prepared<'a, T>(
        &'a mut self,
        of: impl Fn(Prepared<'a>) -> T,
    ) -> Result<Vec<T>, Refusal> {
        let mut prepared = Vec::with_capacity(self.messages.len());
        let mut start = 0;
        for (message, &(user_end, end)) in self.messages.iter_mut().zip(&self.ends) {
            let user = &self.properties[start..user_end];
            let encoded = &self.properties[user_end..end];
            let stored = foliomq_store::Message::encoded(user, encoded, &message.body)?;
            let system = message.system_properties.get_or_insert_default();
            prepared.push(of(Prepared { system, stored }));
            start = end;
        }
        Ok(prepared)
    }

    /// The id of each.
    pub(crate) fn into_ids(self) -> impl Iterator<Item = String> {
        let systems = self.messages.into_iter();
        systems.map(|message| message.system_properties.unwrap_or_default().message_id)
    }
}

/// Completes a message, and adds its properties; returns where its user properties end, and where its system properties do.
fn add(
    properties: &mut Vec<u8>,
    message: &mut Message,
    kind: TopicType,
) -> Result<(usize, usize), Refusal> {
    let system = message.system_properties.get_or_insert_default();
    check_type(system, kind)?;
    complete(system, &message.body)?;
    let user = Message {
        user_properties: std::mem::take(&mut message.user_properties),
        ..Message::default()
    };
    properties.reserve(user.encoded_len() + system.encoded_len());
    user.encode_raw(properties);
    let user_end = properties.len();
    system.encode_raw(properties);
    Ok((user_end, properties.len()))
}

/// Sets what the server answers for, and what every consumer relies on.
fn complete(system: &mut SystemProperties, body: &[u8]) -> Result<(), Refusal> {
    clear_server_fields(system);
    system.body_digest = Some(digest(system.body_digest.take(), body)?);
    system.message_type = validate::message_type(system).into();
    if system.body_encoding == Encoding::Unspecified as i32 {
        system.body_encoding = Encoding::Identity.into();
    }
    system
        .born_timestamp
        .get_or_insert_with(|| timestamp(unix_ms()));
    Ok(())
}

/// The sender's digest where it fits and every client can check it; else one that they can, made once here and not with
/// each delivery.
fn digest(sent: Option<Digest>, body: &[u8]) -> Result<Digest, Refusal> {
    let Some(mut sent) = sent else {
        return Ok(md5_digest(body));
    };
    let check = |sent: &str, found: &[u8]| match is_hex(sent, found) {
        true => Ok(()),
        false => Err(Refusal::new(
            Code::MessageCorrupted,
            format!(
                "the body's digest is {}, the message says {sent}",
                upper_hex(found)
            ),
        )),
    };
    match sent.r#type() {
        DigestType::Md5 => check(&sent.checksum, &Md5::digest(body))?,
        DigestType::Sha1 => check(&sent.checksum, &Sha1::digest(body))?,
        DigestType::Crc32 | DigestType::Unspecified => return Ok(md5_digest(body)),
    }
    // As every client expects it, whatever the sender's case.
    sent.checksum.make_ascii_uppercase();
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn digests() {
        let sent = |kind: DigestType, checksum: &str| {
            Some(Digest {
                r#type: kind.into(),
                checksum: checksum.into(),
            })
        };
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
        assert_eq!(digest(None, b"abc").unwrap().checksum, md5.to_uppercase());
        let checksum = |kind, sent_as| digest(sent(kind, sent_as), b"abc").unwrap().checksum;
        assert_eq!(checksum(DigestType::Md5, md5), md5.to_uppercase());
        assert_eq!(checksum(DigestType::Sha1, sha1), sha1.to_uppercase());
        assert_eq!(checksum(DigestType::Crc32, "352441C2"), md5.to_uppercase());
        assert_eq!(
            digest(sent(DigestType::Md5, md5), b"abd").unwrap_err().code,
            Code::MessageCorrupted
        );
    }

    /// From the request's buffer to the page there is one copy, and the properties of all messages take one buffer.
    #[test]
    fn bodies_stay_in_the_request_and_properties_lie_side_by_side() {
        use foliomq_proto::v2::SendMessageRequest;
        let message = |n: u8| Message {
            user_properties: [("n".to_owned(), n.to_string())].into(),
            system_properties: Some(SystemProperties {
                message_id: n.to_string(),
                ..SystemProperties::default()
            }),
            body: vec![n; 300].into(),
            ..Message::default()
        };
        let messages = (0..5).map(message).collect();
        let request = Bytes::from(SendMessageRequest { messages }.encode_to_vec());
        let inside = |bytes: &[u8], of: &[u8]| of.as_ptr_range().contains(&bytes.as_ptr());
        let messages = SendMessageRequest::decode(request.clone())
            .unwrap()
            .messages;
        let mut completed = Completed::new(messages, TopicType::Any).unwrap();
        let mut start = 0;
        for (n, &(user_end, end)) in completed.ends.iter().enumerate() {
            let user = Message::decode(&completed.properties[start..user_end]).unwrap();
            assert_eq!(user.user_properties["n"], n.to_string());
            let system = SystemProperties::decode(&completed.properties[user_end..end]).unwrap();
            assert_eq!(
                Some(&system),
                completed.messages[n].system_properties.as_ref()
            );
            start = end;
        }
        let prepared = completed.prepared(|one| one).unwrap();
        for (n, one) in prepared.iter().enumerate() {
            assert!(inside(one.stored.body(), &request));
            assert_eq!(one.system.message_id, n.to_string());
        }
        assert_eq!(prepared.len(), 5);
    }
}
