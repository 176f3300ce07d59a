//! The name of a call of an API, for errors, and whether the call may be repeated.

/// After which errors a call may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After throttling and after a lost answer: a repetition has no further effect.
    Idempotent,
    /// After throttling only: a call whose answer was lost may have had its effect.
    OnlyThrottled,
}

/// The name of a call: the action as policies name it, and the resource.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub(in crate::cloud) action: &'static str,
    pub(in crate::cloud) resource: &'a str,
    pub(in crate::cloud) retry: Retry,
}

impl<'a> Call<'a> {
    /// A call that changes nothing.
    #[must_use]
    pub fn read(action: &'static str, resource: &'a str) -> Self {
        Self { action, resource, retry: Retry::Idempotent }
    }

    /// A call that changes something, and changes nothing more when it is repeated.
    #[must_use]
    pub fn write(action: &'static str, resource: &'a str) -> Self {
        Self::read(action, resource)
    }

    /// A call that has another effect each time.
    #[must_use]
    pub fn once(action: &'static str, resource: &'a str) -> Self {
        Self { action, resource, retry: Retry::OnlyThrottled }
    }
}
