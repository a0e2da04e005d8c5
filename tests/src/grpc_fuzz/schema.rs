//! The protocols as their descriptions have them: every method, every field. A method that is added to `proto/` is
//! fuzzed without further ado; a service that is described elsewhere is named in `DESCRIBED`.

use std::collections::HashMap;

use anyhow::{Context, Result};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto, ServiceDescriptorProto,
};

/// Where the services of the broker are described.
const DESCRIBED: [&[u8]; 4] = [
    foliomq_proto::DESCRIPTORS,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// All services and messages.
#[derive(Debug)]
pub struct Schema {
    /// In the order of the files.
    pub methods: Vec<Method>,
    messages: HashMap<String, Vec<Field>>,
    enums: HashMap<String, Vec<i32>>,
}

/// A method of a service.
#[derive(Debug)]
pub struct Method {
    /// As a request's path: `/package.Service/Method`.
    pub path: String,
    /// Name of the request's message.
    pub input: String,
    /// Name of the response's message.
    pub output: String,
    /// The client sends a stream.
    pub streams_in: bool,
    /// The server sends a stream.
    pub streams_out: bool,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its number on the wire.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// It may come any number of times.
    pub repeated: bool,
    /// Of the fields with the same number here, one is meant to be set.
    pub choice: Option<i32>,
}

/// What a field holds, as far as it differs on the wire or in what makes sense.
#[derive(Debug)]
pub enum Kind {
    /// A number of variable length.
    Number,
    /// Yes or no.
    Bool,
    /// One of an enumeration, by its name.
    Enum(String),
    /// Eight bytes.
    Fixed64,
    /// Four bytes.
    Fixed32,
    /// UTF-8.
    Text,
    /// Bytes.
    Bytes,
    /// A message, by its name.
    Message(String),
}

impl Schema {
    /// Of all that the broker serves.
    ///
    /// # Errors
    /// If the compiled descriptions are not what they should be.
    pub fn new() -> Result<Self> {
        let mut schema = Self {
            methods: Vec::new(),
            messages: HashMap::new(),
            enums: HashMap::new(),
        };
        for described in DESCRIBED {
            for file in FileDescriptorSet::decode(described)?.file {
                schema.add_file(&file)?;
            }
        }
        Ok(schema)
    }

    fn add_file(&mut self, file: &FileDescriptorProto) -> Result<()> {
        let scope = format!(".{}", file.package());
        for message in &file.message_type {
            self.add_message(&scope, message)?;
        }
        self.add_enums(&scope, &file.enum_type);
        self.methods.extend(methods(file));
        Ok(())
    }

    /// The fields of a message; of an unknown one, none.
    pub fn fields(&self, message: &str) -> &[Field] {
        self.messages.get(message).map_or(&[], Vec::as_slice)
    }

    /// The numbers of an enumeration.
    pub fn numbers(&self, name: &str) -> &[i32] {
        self.enums.get(name).map_or(&[], Vec::as_slice)
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) -> Result<()> {
        let name = format!("{scope}.{}", message.name());
        let fields = message.field.iter().map(field);
        let fields = fields.collect::<Result<_>>().context(name.clone())?;
        for nested in &message.nested_type {
            self.add_message(&name, nested)?;
        }
        self.add_enums(&name, &message.enum_type);
        self.messages.insert(name, fields);
        Ok(())
    }

    fn add_enums(&mut self, scope: &str, enums: &[prost_types::EnumDescriptorProto]) {
        for each in enums {
            let numbers = each.value.iter().map(|value| value.number());
            let name = format!("{scope}.{}", each.name());
            self.enums.insert(name, numbers.collect());
        }
    }
}

/// The methods of a file's services.
pub fn methods(file: &FileDescriptorProto) -> Vec<Method> {
    let of = |service: &ServiceDescriptorProto, method: &MethodDescriptorProto| Method {
        path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
        input: method.input_type().to_owned(),
        output: method.output_type().to_owned(),
        streams_in: method.client_streaming(),
        streams_out: method.server_streaming(),
    };
    let services = file.service.iter();
    let all =
        services.flat_map(|service| service.method.iter().map(move |method| of(service, method)));
    all.collect()
}

fn field(field: &FieldDescriptorProto) -> Result<Field> {
    let kind = match field.r#type() {
        Type::Bool => Kind::Bool,
        Type::Enum => Kind::Enum(field.type_name().to_owned()),
        Type::Double | Type::Fixed64 | Type::Sfixed64 => Kind::Fixed64,
        Type::Float | Type::Fixed32 | Type::Sfixed32 => Kind::Fixed32,
        Type::String => Kind::Text,
        Type::Bytes => Kind::Bytes,
        Type::Message => Kind::Message(field.type_name().to_owned()),
        Type::Group => anyhow::bail!("{} is a group", field.name()),
        _ => Kind::Number,
    };
    Ok(Field {
        number: field.number().try_into().context("a field's number")?,
        name: field.name().to_owned(),
        kind,
        repeated: field.label() == Label::Repeated,
        choice: field.oneof_index.filter(|_| !field.proto3_optional()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_every_service() {
        let schema = Schema::new().unwrap();
        let of = |service: &str| {
            let methods = schema.methods.iter();
            methods
                .filter(|method| method.path.starts_with(service))
                .count()
        };
        assert!(of("/apache.rocketmq.v2.MessagingService/") >= 17);
        assert!(of("/apache.rocketmq.v2.Admin/") >= 16);
        assert!(of("/foliomq.v1.Admin/") >= 17 && of("/foliomq.v1.Messaging/") >= 3);
        assert_eq!(of("/grpc.health.v1.Health/"), 2);
        for method in &schema.methods {
            assert!(
                schema.messages.contains_key(&method.input),
                "{}",
                method.path
            );
            assert!(
                schema.messages.contains_key(&method.output),
                "{}",
                method.path
            );
        }
    }
}
