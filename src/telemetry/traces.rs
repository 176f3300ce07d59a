//! Traces: spans of admissions, reconciles and broker requests, exported by OTLP over HTTP if OpenTelemetry's
//! standard variables name an endpoint (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>). Otherwise no
//! spans are created. Spans contain only what logs may contain: names and outcomes, never credentials.

use std::{env, time::Duration};

use async_trait::async_trait;
use axum::http::HeaderMap;
use opentelemetry::{KeyValue, propagation::TextMapPropagator, trace::TracerProvider};
use opentelemetry_http::{Bytes, HeaderExtractor, HeaderInjector, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    resource::EnvResourceDetector,
    trace::{SdkTracer, SdkTracerProvider},
};
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};

/// The target of all exported spans, and of nothing else.
pub const TARGET: &str = "bindery::span";

/// Each of these variables switches the export on.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const PROTOCOL: &str = "http/protobuf";

/// The time limit of one export request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The configured protocol is not supported.
    #[error("{variable} is `{value}`; bindery exports by {PROTOCOL} only, to a port such as 4318")]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The exporter or its HTTP client cannot be created. Values of variables are not repeated, because headers may
    /// contain a password.
    #[error("the export of traces cannot be set up; check the variables OTEL_EXPORTER_OTLP_*: {0}")]
    SetUp(String),
}

/// The running export of spans.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the export if it is configured. The exporter sends its requests on the calling runtime.
    ///
    /// # Errors
    /// When the export is configured but cannot be set up.
    pub fn start() -> Result<Option<Self>, TracesError> {
        let set = |variable: &&str| env::var_os(variable).is_some_and(|value| !value.is_empty());
        let disabled = env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        if disabled || !ENDPOINTS.iter().any(set) {
            return Ok(None);
        }
        if let Some(variable) = PROTOCOLS.into_iter().find(set)
            && let Some(value) = env::var(variable).ok().filter(|value| value != PROTOCOL)
        {
            return Err(TracesError::Protocol { variable, value });
        }
        let set_up = |error: &dyn std::fmt::Display| TracesError::SetUp(error.to_string());
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(|error| set_up(&error))?;
        let client = Client { http, runtime: Handle::current() };
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build();
        let exporter = exporter.map_err(|error| set_up(&error))?;
        Ok(Some(Self(
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build(),
        )))
    }

    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
    {
        // The source location of a span does not help an operator.
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("bindery"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
    }

    /// Exports the remaining spans. Blocks for some seconds at most.
    pub fn end(self) {
        // At this point an error cannot be reported.
        let _ = self.0.shutdown_with_timeout(Duration::from_secs(3));
    }
}

/// The resource attributes of this process; the default service name is bindery.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder_empty()
        .with_attributes([KeyValue::new("service.name", "bindery"), version])
        .with_detector(Box::new(EnvResourceDetector::new()));
    match env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

/// Whether spans are exported.
#[must_use]
pub fn are_made() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

/// Makes the span a part of the trace that the request's W3C `traceparent` header names.
#[must_use]
pub fn of_request(span: Span, headers: &HeaderMap) -> Span {
    if !span.is_disabled() {
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // Fails only for a span that is not exported.
        let _ = span.set_parent(parent);
    }
    span
}

/// Adds the trace's `traceparent` header to an outgoing request.
pub fn pass_on(headers: &mut HeaderMap) {
    let span = Span::current();
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
    }
}

/// Sends export requests from the exporter's own thread, which is not a thread of the runtime.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let http = self.http.clone();
        let answered = self.runtime.spawn(async move {
            let response = http.execute(request).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, response.bytes().await?))
        });
        let (status, headers, body) = answered.await??;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use tracing::info_span;
    use tracing_subscriber::{Layer, filter::filter_fn, layer::SubscriberExt};

    use super::*;

    /// The example of W3C's recommendation.
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn passed_on(span: Span, traced: Option<&str>) -> Option<String> {
        let headers = traced.map(|trace| ("traceparent".parse().unwrap(), trace.parse().unwrap()));
        let span = of_request(span, &headers.into_iter().collect());
        let mut passed = HeaderMap::new();
        span.in_scope(|| pass_on(&mut passed));
        passed.get("traceparent").map(|trace| trace.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_trace_is_passed_on_with_a_new_span() {
        let traces = Traces(SdkTracerProvider::builder().build());
        let spans = traces.layer().with_filter(filter_fn(|of| of.target() == TARGET));
        let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans));
        assert!(are_made());
        let passed = passed_on(info_span!(target: TARGET, "a"), Some(TRACE)).unwrap();
        assert!(passed.starts_with(&TRACE[..36]) && passed != TRACE, "{passed}");
        for broken in [None, Some("00-no-trace-01")] {
            let passed = passed_on(info_span!(target: TARGET, "a"), broken).unwrap();
            assert!(passed.len() == TRACE.len() && !passed.starts_with(&TRACE[..36]), "{passed}");
        }
    }

    #[test]
    fn without_export_no_trace_is_passed_on() {
        assert!(!are_made());
        assert_eq!(passed_on(info_span!(target: TARGET, "a"), Some(TRACE)), None);
    }
}
