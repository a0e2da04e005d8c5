//! A message to append.

use std::borrow::Cow;

use crate::error::StoreError;
use crate::wire::{self, Fields, Head};

/// Fields of `Message`.
pub(crate) const USER_PROPERTIES: u8 = 2;
pub(crate) const SYSTEM_PROPERTIES: u8 = 3;
pub(crate) const BODY: u8 = 4;
/// Fields of `SystemProperties`.
pub(crate) const TAG: u8 = 1;
pub(crate) const KEYS: u8 = 2;
pub(crate) const MESSAGE_ID: u8 = 3;
pub(crate) const MESSAGE_GROUP: u8 = 17;
/// Fields of an entry of a map.
pub(crate) const MAP_KEY: u8 = 1;
pub(crate) const MAP_VALUE: u8 = 2;

/// A message to append: a body, and the protobuf fields `user_properties` and `system_properties` of
/// `apache.rocketmq.v2.Message` around it, encoded as they are added.
#[derive(Debug, Clone, Default)]
pub struct Message<'a> {
    user: Cow<'a, [u8]>,
    system: Cow<'a, [u8]>,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// A message with this body and nothing else.
    pub fn new(body: &'a [u8]) -> Self {
        Self {
            body,
            ..Self::default()
        }
    }

    /// From encoded parts: `user` is zero or more whole `user_properties` entries (field 2 of `Message`, tags and
    /// lengths included); `system` is the content of one `SystemProperties`. Either may be borrowed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Illegal`] if either is malformed.
    pub fn encoded(
        user: impl Into<Cow<'a, [u8]>>,
        system: impl Into<Cow<'a, [u8]>>,
        body: &'a [u8],
    ) -> Result<Self, StoreError> {
        let (user, system) = (user.into(), system.into());
        let is_property = |field: wire::Field<'_>| {
            field.number == u32::from(USER_PROPERTIES)
                && field.content.is_some_and(|entry| property(entry).is_some())
        };
        let mut properties = Fields::new(&user);
        if !(properties.all(is_property) && properties.sound()) {
            return Err(StoreError::illegal("user properties are malformed"));
        }
        let mut fields = Fields::new(&system);
        fields.by_ref().for_each(drop);
        if !fields.sound() {
            return Err(StoreError::illegal("system properties are malformed"));
        }
        Ok(Self { user, system, body })
    }

    /// Sets the tag, by which consumers filter.
    pub fn tag(mut self, tag: &str) -> Self {
        wire::put(self.system.to_mut(), TAG, tag.as_bytes());
        self
    }

    /// Adds a key, by which the message is found.
    pub fn key(mut self, key: &str) -> Self {
        wire::put(self.system.to_mut(), KEYS, key.as_bytes());
        self
    }

    /// Sets the message id. Without one the message is known by its position.
    pub fn id(mut self, id: &str) -> Self {
        wire::put(self.system.to_mut(), MESSAGE_ID, id.as_bytes());
        self
    }

    /// Adds a property of the application's.
    pub fn property(mut self, name: &str, value: &str) -> Self {
        let mut entry = Vec::with_capacity(name.len() + value.len() + 8);
        wire::put(&mut entry, MAP_KEY, name.as_bytes());
        wire::put(&mut entry, MAP_VALUE, value.as_bytes());
        wire::put(self.user.to_mut(), USER_PROPERTIES, &entry);
        self
    }

    /// The body.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    pub(crate) fn heads(&self) -> Heads {
        Heads {
            system: Head::new(SYSTEM_PROPERTIES, self.system.len()),
            body: Head::new(BODY, self.body.len()),
        }
    }

    /// What is stored, part by part: user properties, system properties, body.
    pub(crate) fn parts<'p>(&'p self, heads: &'p Heads) -> [&'p [u8]; 5] {
        [
            &self.user,
            heads.system.as_slice(),
            &self.system,
            heads.body.as_slice(),
            self.body,
        ]
    }
}

/// Tags and lengths that go between the parts of a message.
#[derive(Debug)]
pub(crate) struct Heads {
    system: Head,
    body: Head,
}

/// Name and value of an encoded entry of `user_properties`.
pub(crate) fn property(entry: &[u8]) -> Option<(&str, &str)> {
    let mut fields = Fields::new(entry);
    let (mut name, mut value) = ("", "");
    for field in fields.by_ref() {
        match u8::try_from(field.number) {
            Ok(MAP_KEY) => name = field.text()?,
            Ok(MAP_VALUE) => value = field.text()?,
            _ => {}
        }
    }
    fields.sound().then_some((name, value))
}
