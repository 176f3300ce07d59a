//! A proxy in front of moto that behaves like a network and like DynamoDB where moto does not: it loses answers,
//! reports conflicts, rejects calls, and detects repeated transactions by their token.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// What happens to a call instead of its normal answer.
#[derive(Clone)]
pub(super) enum Trick {
    /// The call is executed, but its answer is lost.
    LoseAnswer,
    /// The call is not executed, because of a conflict on its item.
    Conflict,
    /// The call is not executed, with this error code and message.
    Refuse(&'static str, &'static str),
}

pub(super) struct Front {
    endpoint: String,
    state: Arc<Shared>,
}

struct Shared {
    moto: String,
    client: reqwest::Client,
    operation: &'static str,
    tricks: Mutex<VecDeque<Trick>>,
    /// The tokens of the calls of the operation, in order.
    tokens: Mutex<Vec<String>>,
    /// The tokens of the executed calls.
    done: Mutex<HashSet<String>>,
}

impl Front {
    /// Applies the tricks to the first calls of this operation, and passes all other calls through.
    pub(super) async fn start(moto: String, operation: &'static str, tricks: &[Trick]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let state = Arc::new(Shared {
            moto,
            client: reqwest::Client::new(),
            operation,
            tricks: Mutex::new(tricks.iter().cloned().collect()),
            tokens: Mutex::default(),
            done: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(state.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, state }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The tokens of all calls of the operation.
    pub(super) fn tokens(&self) -> Vec<String> {
        self.state.tokens.lock().unwrap().clone()
    }

    pub(super) fn all_tricks_played(&self) -> bool {
        self.state.tricks.lock().unwrap().is_empty()
    }
}

async fn answer(State(state): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers["x-amz-target"].to_str().unwrap().to_owned();
    if !target.ends_with(&format!(".{}", state.operation)) {
        return state.pass(&headers, body).await.into_response();
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    let token = request["ClientRequestToken"].as_str().unwrap_or_default().to_owned();
    state.tokens.lock().unwrap().push(token.clone());
    let trick = state.tricks.lock().unwrap().pop_front();
    match trick {
        Some(Trick::Conflict) => conflict(&request).into_response(),
        Some(Trick::Refuse(code, message)) => refuse(code, message, &json!([])).into_response(),
        _ if state.done.lock().unwrap().contains(&token) => (StatusCode::OK, "{}").into_response(),
        trick => {
            let (status, answer) = state.pass(&headers, body).await;
            if status.is_success() && !token.is_empty() {
                state.done.lock().unwrap().insert(token);
            }
            match trick {
                None => (status, answer).into_response(),
                Some(_) => (StatusCode::INTERNAL_SERVER_ERROR, "{}").into_response(),
            }
        }
    }
}

fn conflict(request: &Value) -> impl IntoResponse + use<> {
    let Some(actions) = request["TransactItems"].as_array() else {
        return refuse("TransactionConflictException", "ongoing transaction", &json!([]));
    };
    let mut reasons = vec![json!({"Code": "None"}); actions.len()];
    reasons[0] = json!({"Code": "TransactionConflict", "Message": "ongoing transaction"});
    refuse("TransactionCanceledException", "Transaction cancelled", &json!(reasons))
}

fn refuse(code: &str, message: &str, reasons: &Value) -> (StatusCode, String) {
    let code = format!("com.amazonaws.dynamodb.v20120810#{code}");
    let body = json!({"__type": code, "message": message, "CancellationReasons": reasons});
    (StatusCode::BAD_REQUEST, body.to_string())
}

impl Shared {
    async fn pass(&self, headers: &HeaderMap, body: Bytes) -> (StatusCode, Bytes) {
        let mut request = self.client.post(&self.moto).body(body);
        for name in ["x-amz-target", "content-type", "authorization", "x-amz-date"] {
            request = request.header(name, &headers[name]);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.bytes().await.unwrap())
    }
}
