//! Closed sets of words, and the reclaim policies, which every service with data has.

pub use crate::contract::ReclaimPolicy;

/// A closed set of words.
pub trait Kinds: Copy + Default + PartialEq + 'static {
    /// All words of the set.
    const ALL: &'static [Self];
    /// The words that a plan allows by default.
    const ALLOWED: &'static [Self] = Self::ALL;
    /// The word.
    fn as_str(self) -> &'static str;
}

impl Kinds for ReclaimPolicy {
    const ALL: &'static [Self] = &[Self::Delete, Self::Retain];
    // Retention must be allowed explicitly, or any user could leave databases behind.
    const ALLOWED: &'static [Self] = &[Self::Delete];

    fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Retain => "retain",
        }
    }
}
