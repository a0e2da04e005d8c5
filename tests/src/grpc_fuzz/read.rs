//! What an encoded message says, by its description.

use anyhow::{Result, ensure};
use bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::schema::{Field, Kind, Schema};

/// What a visitor sees of a field.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// A number.
    Number(u64),
    /// Text or bytes.
    Bytes(&'a [u8]),
    /// A message, before its own fields.
    Message(&'a [u8]),
}

/// Shows each field of an encoded message, depth first, with the name of the message that holds it.
///
/// # Errors
/// If the bytes are not such a message, or hold a field that it does not have.
pub fn walk(
    schema: &Schema,
    message: &str,
    mut bytes: &[u8],
    visit: &mut dyn FnMut(&str, &Field, Seen<'_>),
) -> Result<()> {
    while bytes.has_remaining() {
        let (number, wire) = decode_key(&mut bytes)?;
        let field = schema
            .fields(message)
            .iter()
            .find(|field| field.number == number);
        let Some(field) = field else {
            anyhow::bail!("{message} has no field {number}");
        };
        match wire {
            WireType::Varint => visit(message, field, Seen::Number(decode_varint(&mut bytes)?)),
            WireType::SixtyFourBit => visit(message, field, Seen::Number(bytes.try_get_u64_le()?)),
            WireType::ThirtyTwoBit => {
                visit(message, field, Seen::Number(bytes.try_get_u32_le()?.into()));
            }
            WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut bytes)?)?;
                ensure!(len <= bytes.len(), "{message}.{} is cut", field.name);
                let (content, rest) = bytes.split_at(len);
                bytes = rest;
                if let Kind::Message(inner) = &field.kind {
                    visit(message, field, Seen::Message(content));
                    walk(schema, inner, content, visit)?;
                } else {
                    visit(message, field, Seen::Bytes(content));
                }
            }
            _ => anyhow::bail!("{message}.{} is a group", field.name),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use foliomq_proto::v2::{HeartbeatResponse, Status};
    use prost::Message;

    use super::*;

    #[test]
    fn sees_a_status() {
        let status = Some(Status {
            code: 20000,
            message: "OK".into(),
        });
        let bytes = HeartbeatResponse { status }.encode_to_vec();
        let mut seen = Vec::new();
        let schema = Schema::new().unwrap();
        let name = ".apache.rocketmq.v2.HeartbeatResponse";
        walk(&schema, name, &bytes, &mut |_, field, what| {
            if let Seen::Number(number) = what {
                seen.push((field.name.clone(), number));
            }
        })
        .unwrap();
        assert_eq!(seen, [("code".to_owned(), 20000)]);
        assert!(walk(&schema, name, &bytes[..3], &mut |_, _, _| ()).is_err());
        assert!(walk(&schema, name, &[0x50, 1], &mut |_, _, _| ()).is_err());
    }
}
