//! Requests by chance: messages of the right shape, whose content is sensible or hostile.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::encoding::{WireType, encode_key, encode_varint};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};

use super::schema::{Field, Kind, Schema};
use super::words::{Words, hostile_number, hostile_text};

/// Levels of messages within messages; the protocols have fewer.
const DEPTH: usize = 8;
/// A request stops growing about here, bytes.
const SIZE: usize = 600 << 10;

/// Makes the messages of one request.
#[derive(Debug)]
pub struct Writer<'a, R> {
    /// What there is to be said.
    pub schema: &'a Schema,
    /// What the client knows.
    pub words: &'a Words,
    /// Where chance comes from.
    pub random: &'a mut R,
    /// How often something hostile stands where something sensible could: 0 to 1.
    pub hostility: f64,
    /// Bytes that may still be made.
    pub left: usize,
}

impl<'a, R: Rng> Writer<'a, R> {
    /// For a request of one client.
    pub fn new(schema: &'a Schema, words: &'a Words, random: &'a mut R) -> Self {
        let hostility = [0.0, 0.02, 0.1, 0.4][random.random_range(0..4)];
        Self {
            schema,
            words,
            random,
            hostility,
            left: SIZE,
        }
    }

    /// A message of this name, encoded.
    pub fn message(&mut self, name: &str) -> Vec<u8> {
        self.nested(name, "", DEPTH)
    }

    fn hostile(&mut self) -> bool {
        self.random.random_bool(self.hostility)
    }

    /// A message in the field `within`.
    fn nested(&mut self, name: &str, within: &str, depth: usize) -> Vec<u8> {
        if depth == 0 {
            return Vec::new();
        }
        if let (false, Some(time)) = (self.hostile(), self.time(name, within)) {
            return time;
        }
        let schema = self.schema;
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let fields = schema.fields(name);
        let choice = fields.choose(self.random).map_or(0, |field| field.number);
        for field in fields {
            let chosen = field.choice.is_none() || self.chosen(fields, field, choice);
            if !(chosen || self.hostile()) || self.random.random_bool(0.1) {
                continue;
            }
            for _ in 0..self.count(field.repeated) {
                parts.push(self.field(field, within, depth));
            }
        }
        if self.hostile() {
            parts.push(self.unknown_field());
            parts.shuffle(self.random);
        }
        parts.concat()
    }

    /// Whether `field` is the one of its choice that the number `choice` hits.
    fn chosen(&mut self, fields: &[Field], field: &Field, choice: u32) -> bool {
        let group = fields.iter().filter(|other| other.choice == field.choice);
        let group: Vec<u32> = group.map(|field| field.number).collect();
        group[choice as usize % group.len()] == field.number
    }

    /// How many there are of a field.
    fn count(&mut self, repeated: bool) -> usize {
        match (repeated, self.hostile()) {
            (true, true) => [0, 2, 33, 200, 5000][self.random.random_range(0..5)],
            (true, false) => self.random.random_range(1..4),
            // The last one counts; messages are merged.
            (false, true) => self.random.random_range(0..3),
            (false, false) => 1,
        }
    }

    fn field(&mut self, field: &Field, within: &str, depth: usize) -> Vec<u8> {
        if self.left == 0 {
            return Vec::new();
        }
        let mut out = Vec::new();
        match &field.kind {
            Kind::Fixed64 => {
                let value = self.number(&field.name, within);
                encode_key(field.number, WireType::SixtyFourBit, &mut out);
                out.extend(value.to_le_bytes());
            }
            Kind::Fixed32 => {
                let value = self.float();
                encode_key(field.number, WireType::ThirtyTwoBit, &mut out);
                out.extend(value.to_le_bytes());
            }
            Kind::Number | Kind::Bool | Kind::Enum(_) => {
                let value = self.varint(field, within);
                encode_key(field.number, WireType::Varint, &mut out);
                encode_varint(value, &mut out);
            }
            Kind::Text | Kind::Bytes | Kind::Message(_) => {
                let content = self.content(field, within, depth);
                encode_key(field.number, WireType::LengthDelimited, &mut out);
                encode_varint(content.len() as u64, &mut out);
                out.extend(content);
            }
        }
        self.left = self.left.saturating_sub(out.len());
        out
    }

    fn content(&mut self, field: &Field, within: &str, depth: usize) -> Vec<u8> {
        let hostile = self.hostile();
        match &field.kind {
            Kind::Message(name) => self.nested(name, &field.name, depth - 1),
            Kind::Bytes => {
                let len = if hostile {
                    [0, 70_000, 500_000]
                } else {
                    [1, 40, 5000]
                };
                let len = len[self.random.random_range(0..3)];
                let mut bytes = vec![0; len.min(self.left)];
                self.random.fill_bytes(&mut bytes);
                bytes
            }
            _ if hostile => hostile_text(self.left, self.random).into_bytes(),
            _ => self
                .words
                .sensible(&field.name, within, self.random)
                .into_bytes(),
        }
    }

    fn varint(&mut self, field: &Field, within: &str) -> u64 {
        match &field.kind {
            Kind::Bool => self.random.random_range(0..2),
            Kind::Enum(name) if !self.hostile() => {
                let numbers = self.schema.numbers(name);
                let number = numbers.choose(self.random).copied().unwrap_or_default();
                i64::from(number).cast_unsigned()
            }
            Kind::Enum(_) => hostile_number(self.random),
            _ => self.number(&field.name, within),
        }
    }

    fn number(&mut self, field: &str, within: &str) -> u64 {
        if self.hostile() {
            return hostile_number(self.random);
        }
        let range = match (field, within) {
            ("id" | "queue_id", _) => 0..4,
            ("queues" | "max_attempts" | "batch_size" | "limit" | "producer_id", _) => 1..9,
            ("sequence" | "credit", _) => 1..40,
            _ => 0..20,
        };
        self.random.random_range(range)
    }

    fn float(&mut self) -> f32 {
        if self.hostile() {
            let values = [0.0, -1.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE, 1e30];
            return values[self.random.random_range(0..values.len())];
        }
        self.random.random_range(1.0..4.0)
    }

    /// A time or a time span near what is usual.
    fn time(&mut self, name: &str, within: &str) -> Option<Vec<u8>> {
        let seconds = match (name, within) {
            (".google.protobuf.Duration", "long_polling_timeout") => 0..2,
            (".google.protobuf.Duration", _) => 0..40,
            (".google.protobuf.Timestamp", _) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
                now - 60..now + 10
            }
            _ => return None,
        };
        let time = prost_types::Duration {
            seconds: self.random.random_range(seconds).cast_signed(),
            nanos: self.random.random_range(0..1_000_000_000),
        };
        Some(prost::Message::encode_to_vec(&time))
    }

    /// A field of a later version: what receives it has to pass over it.
    fn unknown_field(&mut self) -> Vec<u8> {
        let number = [19_000, 200, (1 << 29) - 1][self.random.random_range(0..3)];
        let mut out = Vec::new();
        match self.random.random_range(0..4) {
            0 => {
                encode_key(number, WireType::Varint, &mut out);
                encode_varint(hostile_number(self.random), &mut out);
            }
            1 => {
                encode_key(number, WireType::SixtyFourBit, &mut out);
                out.extend([0xff; 8]);
            }
            2 => {
                let depth = self.random.random_range(1..50);
                (0..depth).for_each(|_| encode_key(number, WireType::StartGroup, &mut out));
                (0..depth).for_each(|_| encode_key(number, WireType::EndGroup, &mut out));
            }
            _ => {
                encode_key(number, WireType::LengthDelimited, &mut out);
                encode_varint(3, &mut out);
                out.extend([0xff; 3]);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use foliomq_proto::v2::SendMessageRequest;
    use prost::Message;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn requests_are_well_formed() {
        let schema = Schema::new().unwrap();
        for seed in 0..200 {
            let bytes = {
                let mut random = StdRng::seed_from_u64(seed);
                let words = Words::default();
                let mut writer = Writer::new(&schema, &words, &mut random);
                writer.hostility = 0.3;
                writer.message(".apache.rocketmq.v2.SendMessageRequest")
            };
            SendMessageRequest::decode(&bytes[..]).unwrap();
            assert!(bytes.len() < 2 * SIZE);
        }
    }
}
