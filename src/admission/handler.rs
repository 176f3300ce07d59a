//! What a webhook is: a request in, a decision out. HTTP, the format of reviews, limits and metrics are not its business.

use serde::de::IgnoredAny;

use super::{
    codec::{MalformedReview, Request},
    decision::Decision,
};

/// Reviews objects of one sort. `T` is as much of the object as the handler looks at, `Before` the same of the object as it was,
/// and `Author` of who asks. What a handler does not ask for is skipped without being parsed.
pub trait Handler<T, Before = IgnoredAny, Author = IgnoredAny>: Send + Sync + 'static {
    /// How metrics call the webhook.
    const NAME: &'static str;

    /// Decides what becomes of the object.
    ///
    /// A review without something that the API server always sends is [`MalformedReview`], which `failurePolicy` decides about.
    fn review(
        &self,
        request: &Request<T, Before, Author>,
    ) -> impl Future<Output = Result<Decision, MalformedReview>> + Send;

    /// What becomes of an object that cannot be read as a `T`, because the API server has not compared it with its schema yet. Without
    /// a decision the review is malformed.
    fn unreadable(&self, _why: &str) -> Option<Decision> {
        None
    }
}
