//! The names that a consumer group may have.

use crate::DeliveryError;

/// Longest name of a group, in bytes: `%DLQ%` before it still makes a topic.
pub const MAX_GROUP_NAME: usize = 120;

/// Groups of the protocol's own origin begin so; nobody else's may.
const RESERVED_PREFIX: &str = "CID_RMQ_SYS_";

/// Whether `name` has 1 to [`MAX_GROUP_NAME`] of the characters `%`, `|`, a-z, A-Z, 0-9, `_` and `-`, and no reserved prefix.
/// One `/`, neither first nor last, ends a namespace.
pub fn check_group(name: &str) -> Result<(), DeliveryError> {
    let rule = if name.is_empty() {
        "a group name must not be empty".to_owned()
    } else if name.len() > MAX_GROUP_NAME {
        format!(
            "a group name has at most {MAX_GROUP_NAME} characters, this one {}",
            name.len()
        )
    } else if !parts(name).all(|part| !part.is_empty() && part.bytes().all(is_allowed)) {
        format!(
            "group name {name:?} may only have the characters %, |, a-z, A-Z, 0-9, _ and -, and one / after a namespace"
        )
    } else if parts(name).any(|part| part.starts_with(RESERVED_PREFIX)) {
        format!("group name {name} begins with the reserved {RESERVED_PREFIX}")
    } else {
        return Ok(());
    };
    Err(DeliveryError::IllegalGroup { what: rule })
}

/// The namespace, if there is one, and the name in it.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.splitn(2, '/')
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for good in ["g", "GID-1_a|b%c", "space/g", &"x".repeat(120)] {
            assert_eq!(check_group(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a b",
            "gruppe-ä",
            "/b",
            "a/",
            "a/b/c",
            "CID_RMQ_SYS_x",
            "space/CID_RMQ_SYS_x",
            &"x".repeat(121),
        ] {
            assert!(
                matches!(check_group(bad), Err(DeliveryError::IllegalGroup { .. })),
                "{bad}"
            );
        }
    }
}
