//! PostgreSQL's messages as frames, as far as a relay reads and writes them itself
//! (<https://www.postgresql.org/docs/15/protocol-message-formats.html>). Answers are forwarded undecoded, so no crate
//! that decodes rows and logins is needed; `postgres-protocol` reads only the server's half.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A message with its tag and length.
pub(super) struct Frame(Vec<u8>);

impl Frame {
    pub(super) fn new(tag: u8, body: &[u8]) -> Self {
        let length = u32::try_from(body.len() + 4).expect("a short message");
        let mut bytes = vec![tag];
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        Self(bytes)
    }

    pub(super) fn tag(&self) -> u8 {
        self.0[0]
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.0[5..]
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The zero-terminated strings of the body from this offset on.
    pub(super) fn strings(&self, from: usize) -> Vec<String> {
        let strings = self.body()[from..].split(|&byte| byte == 0);
        strings.map(|string| String::from_utf8_lossy(string).into_owned()).collect()
    }
}

/// Query: a simple statement.
pub(super) fn query(sql: &str) -> Frame {
    Frame::new(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

/// Parse, with its statement replaced.
pub(super) fn parse(original: &Frame, sql: &str) -> Frame {
    let strings = original.strings(0);
    let types = &original.body()[strings[0].len() + strings[1].len() + 2..];
    Frame::new(b'P', &[strings[0].as_bytes(), b"\0", sql.as_bytes(), b"\0", types].concat())
}

/// `ErrorResponse`.
pub(super) fn error(code: &str, message: &str) -> Frame {
    let fields = [('S', "ERROR"), ('V', "ERROR"), ('C', code), ('M', message)];
    let body: String = fields.map(|(field, value)| format!("{field}{value}\0")).concat();
    Frame::new(b'E', format!("{body}\0").as_bytes())
}

/// `CommandComplete`.
pub(super) fn complete() -> Frame {
    Frame::new(b'C', b"OK\0")
}

/// `ParameterStatus`.
pub(super) fn parameter(name: &str, value: &str) -> Frame {
    Frame::new(b'S', format!("{name}\0{value}\0").as_bytes())
}

/// `AuthenticationSASL` with SCRAM only: channel binding would detect the relay.
pub(super) fn scram() -> Frame {
    Frame::new(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")
}

/// One side of the relay.
pub(super) struct Side<S> {
    stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Side<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// The next message, `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        Ok(self.take(1).await?.map(Frame))
    }

    /// The first message, which has no tag.
    pub(super) async fn startup(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.take(0).await
    }

    async fn take(&mut self, tag: usize) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(length) = self.read.get(tag..tag + 4) {
                let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize + tag;
                if self.read.len() >= length {
                    return Ok(Some(self.read.drain(..length).collect()));
                }
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The stream, for the switch to TLS before anything else is read.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}
