//! Names of stacks: CloudFormation allows letters, digits and hyphens, begins with a letter, and takes at most 128
//! characters.

use sha2::{Digest, Sha256};

const LONGEST: usize = 128;
/// Hexadecimal digits of the hash that distinguishes names that were cut.
const HASH: usize = 16;

/// A stack name of these parts, joined by hyphens. Other characters become hyphens. A name that is too long is cut and
/// ends with a hash of all parts, so that different parts give different names.
#[must_use]
pub fn stack_name(parts: &[&str]) -> String {
    let joined = parts.join("-");
    let mut name: String =
        joined.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        name.insert(0, 's');
    }
    if name.len() <= LONGEST {
        return name;
    }
    // The separator cannot be part of a name, so the parts `a-b` and `a`, `b` differ.
    let hash = hex::encode(Sha256::digest(parts.join("\0")));
    format!("{}-{}", &name[..LONGEST - HASH - 1], &hash[..HASH])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_joined_and_other_characters_replaced() {
        assert_eq!(
            stack_name(&["cluster", "dynamodb", "dynamo.table", "default"]),
            "cluster-dynamodb-dynamo-table-default"
        );
        assert_eq!(stack_name(&["1", "a"]), "s1-a");
    }

    #[test]
    fn long_names_stay_different() {
        let long = "a".repeat(200);
        let (one, other) = (stack_name(&[&long, "1"]), stack_name(&[&long, "2"]));
        assert_eq!(one.len(), 128);
        assert_ne!(one, other);
    }

    proptest! {
        #[test]
        fn every_name_is_accepted_by_cloudformation(parts in prop::collection::vec(".{0,90}", 1..4)) {
            let parts: Vec<_> = parts.iter().map(String::as_str).collect();
            let name = stack_name(&parts);
            prop_assert!(name.len() <= 128 && !name.is_empty());
            prop_assert!(name.starts_with(|first: char| first.is_ascii_alphabetic()));
            prop_assert!(name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-'));
        }
    }
}
