//! The interface of a webhook: it receives a request and returns a decision. The router handles HTTP, encoding, limits
//! and metrics.

use serde::de::IgnoredAny;

use super::{
    codec::{MalformedReview, Request},
    decision::Decision,
};

/// Reviews objects of one kind. `T` has the fields of the object that the handler reads, `Before` those of the old
/// object, and `Author` those of the user. The decoder skips all other fields.
pub trait Handler<T, Before = IgnoredAny, Author = IgnoredAny>: Send + Sync + 'static {
    /// The webhook's name in metrics.
    const NAME: &'static str;

    /// Decides about the object.
    ///
    /// If a field is absent that the API server always sends, the result is [`MalformedReview`], and the webhook's
    /// `failurePolicy` decides.
    fn review(
        &self,
        request: &Request<T, Before, Author>,
    ) -> impl Future<Output = Result<Decision, MalformedReview>> + Send;

    /// Decides about an object that cannot be decoded as a `T`, because the API server has not validated it against its
    /// schema yet. With `None` the review counts as malformed.
    fn unreadable(&self, _why: &str) -> Option<Decision> {
        None
    }
}
