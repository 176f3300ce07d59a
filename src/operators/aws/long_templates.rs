//! Templates that are too long for a request (pure): CloudFormation reads them from a bucket of the installation.

use std::fmt;

use crate::cloud::aws::{buckets::Bucket, digest};

/// CloudFormation's limit for a template in a request, in bytes.
const IN_REQUEST: usize = 51_200;
/// CloudFormation's limit for a template in a bucket.
const IN_BUCKET: usize = 1_048_576;
/// The hexadecimal digits of a hash.
const DIGITS: usize = 64;
/// The beginning of the keys of templates.
const PREFIX: &str = "bindery-templates/";

/// The longest template of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Longest {
    InRequest,
    InBucket,
}

impl Longest {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::InRequest => IN_REQUEST,
            Self::InBucket => IN_BUCKET,
        }
    }
}

impl fmt::Display for Longest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InRequest => write!(
                f,
                "CloudFormation takes {IN_REQUEST} in a request; shorten it, or have the administrator set --bucket"
            ),
            Self::InBucket => write!(f, "CloudFormation takes {IN_BUCKET}; shorten it"),
        }
    }
}

/// The part of the bucket that has the templates.
pub(super) fn templates_in(bucket: String) -> Bucket {
    Bucket { name: bucket, prefix: PREFIX.to_owned(), region: None }
}

/// Whether CloudFormation takes a template only from a bucket.
pub(super) fn is_long(template: &str) -> bool {
    template.len() > IN_REQUEST
}

/// The key of a template, which follows from its content.
pub(super) fn key(template: &str) -> String {
    format!("{PREFIX}{}.yaml", digest(&[template], DIGITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_names_the_way_to_a_longer_template() {
        assert!(Longest::InRequest.to_string().contains("--bucket"));
        assert_eq!((Longest::InRequest.bytes(), Longest::InBucket.bytes()), (51_200, 1_048_576));
    }
}
