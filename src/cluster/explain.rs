//! What the API server said, for people: kube's own text repeats the whole status.

/// The reason of an error, in one sentence.
#[must_use]
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
