//! Kinds of errors that clouds answer, by what a caller can do about each.

/// What kind of error a cloud answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A policy does not allow the action.
    Denied,
    /// The resource does not exist.
    NotFound,
    /// A resource of that name exists.
    Exists,
    /// Too many calls.
    Throttled,
    /// The cloud did not answer, or answered with a fault of its own.
    Unavailable,
    /// The caller's credentials are missing, expired or unknown.
    Credentials,
    /// A quota is used up.
    Quota,
    /// The resource is being changed, or something depends on it.
    Conflict,
    /// Everything else: the request itself is wrong.
    Invalid,
}

impl ErrorKind {
    /// Whether the same call may succeed later without a change.
    pub(in crate::cloud) fn is_passing(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Conflict)
    }
}
