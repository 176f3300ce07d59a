//! Closed sets of words, and the words for what becomes of the data in the end, which every service with data has.

pub use crate::contract::ReclaimPolicy;

/// A closed set of words.
pub trait Kinds: Copy + Default + PartialEq + 'static {
    /// All of them.
    const ALL: &'static [Self];
    /// Those that plans allow which say nothing.
    const ALLOWED: &'static [Self] = Self::ALL;
    /// The word.
    fn as_str(self) -> &'static str;
}

impl Kinds for ReclaimPolicy {
    const ALL: &'static [Self] = &[Self::Delete, Self::Retain];
    // Or anybody could leave databases behind.
    const ALLOWED: &'static [Self] = &[Self::Delete];

    fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Retain => "retain",
        }
    }
}
