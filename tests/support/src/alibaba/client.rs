//! Signed requests of a test: those of an application with the credentials of a binding, and those of the account itself.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{
    Alibaba,
    account::REGION,
    random,
    signature::{Headers, Query, Signed, encode_path, query_text, sha256},
};

/// An access key, or the temporary credentials of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

/// A request to one of the services.
pub struct Request {
    method: &'static str,
    path: String,
    query: Query,
    headers: Headers,
    body: Vec<u8>,
}

impl Request {
    /// An action of RDS, RAM or STS.
    pub fn rpc(product: &str, action: &str, parameters: &[(&str, &str)]) -> Self {
        let version = match product {
            "rds" => "2014-08-15",
            "ram" => "2015-05-01",
            _ => "2015-04-01",
        };
        let headers = [("x-acs-version", version), ("x-acs-action", action)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let query = parameters.iter().map(owned).collect();
        Self { method: "POST", path: "/".to_owned(), query, headers, body: Vec::new() }
    }

    /// A request to OSS for `/BUCKET/KEY?QUERY`.
    pub fn oss(method: &'static str, target: &str, body: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
        let query = super::signature::pairs(query);
        Self { method, path, query, headers: Headers::new(), body: body.into() }
    }

    /// The same with another header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    fn signed<'a>(&'a self, path: &'a str) -> Signed<'a> {
        Signed { method: self.method, path, query: &self.query, headers: &self.headers }
    }

    fn sign(&mut self, key: &Key) {
        let (now, is_rpc) = (Timestamp::now(), self.is_rpc());
        let mut add = |name: &str, value: String| self.headers.insert(name.to_owned(), value);
        if is_rpc {
            add("x-acs-date", now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            add("x-acs-signature-nonce", random("0123456789abcdef", 32));
            let hash = sha256(&self.body);
            add("x-acs-content-sha256", hash.clone());
            if let Some(token) = &key.token {
                add("x-acs-security-token", token.clone());
            }
            let names: Vec<_> = self.headers.keys().cloned().collect();
            let signature = self.signed(&self.path).acs3(&key.secret, &names, &hash);
            let authorization = format!(
                "ACS3-HMAC-SHA256 Credential={},SignedHeaders={},Signature={signature}",
                key.id,
                names.join(";")
            );
            self.headers.insert("authorization".to_owned(), authorization);
            return;
        }
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        add("x-oss-date", date.clone());
        add("x-oss-content-sha256", "UNSIGNED-PAYLOAD".to_owned());
        if let Some(token) = &key.token {
            add("x-oss-security-token", token.clone());
        }
        let path = match self.path.trim_start_matches('/') {
            bucket if !bucket.is_empty() && !bucket.contains('/') => format!("/{bucket}/"),
            path => format!("/{path}"),
        };
        let signature = self.signed(&path).oss4(&key.secret, REGION, &date, &[]);
        let scope = format!("{}/{REGION}/oss/aliyun_v4_request", &date[..8]);
        let authorization = format!("OSS4-HMAC-SHA256 Credential={}/{scope},Signature={signature}", key.id);
        self.headers.insert("authorization".to_owned(), authorization);
    }

    fn is_rpc(&self) -> bool {
        self.headers.contains_key("x-acs-version")
    }
}

impl Alibaba {
    /// Sends a request with a key. Returns the status and the body, or status 0 for a lost connection.
    pub fn ask(&self, key: &Key, mut request: Request) -> (u16, String) {
        request.headers.insert("host".to_owned(), format!("{}:{}", self.host, self.port));
        request.sign(key);
        self.send(&request)
    }

    /// Sends a request without a signature.
    pub fn ask_unsigned(&self, mut request: Request) -> (u16, String) {
        request.headers.insert("host".to_owned(), format!("{}:{}", self.host, self.port));
        self.send(&request)
    }

    /// Sends an action of RDS, RAM or STS with a key. Returns the answer, or status and code of the error.
    pub fn call(
        &self,
        key: &Key,
        product: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Value, (u16, String)> {
        let (status, body) = self.ask(key, Request::rpc(product, action, parameters));
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        match status {
            200 => Ok(body),
            _ => Err((status, body["Code"].as_str().unwrap_or_default().to_owned())),
        }
    }

    fn send(&self, request: &Request) -> (u16, String) {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).unwrap();
        let query =
            if request.query.is_empty() { String::new() } else { format!("?{}", query_text(&request.query)) };
        let headers: String =
            request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (method, path, length) = (request.method, encode_path(&request.path), request.body.len());
        write!(stream, "{method} {path}{query} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n")
            .unwrap();
        stream.write_all(&request.body).unwrap();
        let mut answer = Vec::new();
        // A connection that is reset is lost, too.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { return (0, String::new()) };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        (status, body.to_owned())
    }
}
