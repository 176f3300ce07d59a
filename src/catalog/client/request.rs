//! A request to a broker before it is sent: the path of checked segments, the query, the body and the user.

use reqwest::{Method, header::HeaderValue};
use serde::Serialize;
use url::Url;

use super::{ClientError, Identity, InstanceKey};
use crate::osb::{BindingId, InstanceId, Operation};

/// A request before it is sent.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<Vec<u8>>,
    /// The originating identity.
    pub(super) identity: Option<HeaderValue>,
}

/// What a request is about.
#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    Catalog,
    Instance(&'a InstanceId),
    Binding(&'a InstanceId, &'a BindingId),
}

impl Request {
    pub(super) fn new(base: &Url, method: Method, about: About<'_>) -> Result<Self, ClientError> {
        let segments = match about {
            About::Catalog => vec!["catalog"],
            About::Instance(id) => vec!["service_instances", id.as_str()],
            About::Binding(instance, id) => {
                vec!["service_instances", instance.as_str(), "service_bindings", id.as_str()]
            }
        };
        if let Some(segment) = segments.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
            return Err(ClientError::BadId((*segment).to_owned()));
        }
        let mut url = base.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::BadUrl("it has no host".to_owned()))?
            .pop_if_empty()
            .push("v2")
            .extend(segments);
        Ok(Self { method, url, body: None, identity: None })
    }

    /// The poll of an operation on what the request is about.
    pub(super) fn last_operation(mut self, operation: Option<&Operation>) -> Self {
        if let Ok(mut segments) = self.url.path_segments_mut() {
            segments.push("last_operation");
        }
        match operation {
            Some(operation) => self.query_pair("operation", operation.as_str()),
            None => self,
        }
    }

    pub(super) fn accepts_incomplete(self) -> Self {
        self.query_pair("accepts_incomplete", "true")
    }

    pub(super) fn of(self, key: &InstanceKey) -> Self {
        self.query_pair("service_id", key.service.as_str()).query_pair("plan_id", key.plan.as_str())
    }

    /// The user who caused the request.
    pub(super) fn by(self, identity: Option<&Identity>) -> Self {
        Self { identity: identity.map(Identity::header), ..self }
    }

    pub(super) fn json(mut self, body: &impl Serialize) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the requests' types have string keys and no fallible members"
        )]
        let body = serde_json::to_vec(body).expect("an Open Service Broker request is JSON");
        self.body = Some(body);
        self
    }

    fn query_pair(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }
}
