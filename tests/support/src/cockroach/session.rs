//! One connection: the login is forwarded, and each request is judged before PostgreSQL receives any of it.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

use super::{
    Shared,
    faults::Fault,
    jobs::Socket,
    statements::{Sender, UNKNOWN, Verdict, judge},
    wire::{Frame, Side, complete, error, parameter, parse, query, scram},
};
use crate::postgres::ADMIN;

/// The version at login and in `SELECT version()`.
const VERSION: &str = "CockroachDB CCL v25.2.13 (stand-in)";

/// The result of a request.
enum Done {
    Answered,
    /// The connection must be dropped.
    Lost,
}

struct Session<S> {
    client: Side<S>,
    server: Side<UnixStream>,
    socket: Socket,
    shared: Arc<Shared>,
    user: String,
    database: String,
    /// The transaction status of the last `ReadyForQuery`.
    transaction: u8,
}

/// Serves a connection until either side closes it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: Side<S>,
    socket: Socket,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let Some(startup) = client.startup().await? else { return Ok(()) };
    let strings: Vec<_> = startup[8..].split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
    let setting = |name: &str| {
        let pair = strings.chunks(2).find(|pair| pair[0] == name);
        pair.map(|pair| pair[1].clone().into_owned()).unwrap_or_default()
    };
    let (user, database) = (setting("user"), setting("database"));
    let mut server = Side::new(UnixStream::connect(socket.path()).await?);
    server.send(&startup).await?;
    let mut session = Session { client, server, socket, shared, user, database, transaction: b'I' };
    if session.log_in().await? {
        session.requests().await?;
    }
    Ok(())
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Forwards the login. Returns whether it succeeded.
    async fn log_in(&mut self) -> io::Result<bool> {
        while let Some(mut frame) = self.server.next().await? {
            let mut asks = false;
            match frame.tag() {
                // The client does not answer AuthenticationOk (0) and AuthenticationSASLFinal (12).
                b'R' => {
                    let kind = frame.body()[3];
                    asks = ![0, 12].contains(&kind);
                    if kind == 10 {
                        frame = scram();
                    }
                }
                b'S' if frame.strings(0)[0] == "server_version" => {
                    frame = parameter("server_version", "13.0.0");
                }
                b'Z' => {
                    self.client.send(parameter("crdb_version", VERSION).bytes()).await?;
                    self.client.send(frame.bytes()).await?;
                    return Ok(true);
                }
                _ => {}
            }
            self.client.send(frame.bytes()).await?;
            if asks {
                let Some(answer) = self.client.next().await? else { return Ok(false) };
                self.server.send(answer.bytes()).await?;
            }
        }
        Ok(false)
    }

    async fn requests(&mut self) -> io::Result<()> {
        let mut request = Vec::new();
        loop {
            tokio::select! {
                // The server sends a message without a request only when it ends the session.
                frame = self.server.next() => match frame? {
                    Some(frame) => self.client.send(frame.bytes()).await?,
                    None => return Ok(()),
                },
                frame = self.client.next() => {
                    let Some(frame) = frame? else { return Ok(()) };
                    let tag = frame.tag();
                    request.push(frame);
                    match tag {
                        b'Q' | b'S' => {
                            if let Done::Lost = self.request(&std::mem::take(&mut request)).await? {
                                return Ok(());
                            }
                        }
                        b'P' | b'B' | b'D' | b'E' | b'C' => {}
                        _ => return Ok(()),
                    }
                }
            }
        }
    }

    /// Handles a whole request: a Query, or all messages up to a Sync.
    async fn request(&mut self, request: &[Frame]) -> io::Result<Done> {
        let sql = request.iter().find_map(|frame| match frame.tag() {
            b'Q' => frame.strings(0).into_iter().next(),
            b'P' => frame.strings(0).into_iter().nth(1),
            _ => None,
        });
        let Some(sql) = sql else {
            // The statement was judged when it was prepared.
            let answer = self.relay(request).await?;
            return self.answer(&answer).await;
        };
        let sender = if self.user == ADMIN { Sender::Administrator } else { Sender::Application };
        let judgement = judge(sender, &sql);
        let mut fault = None;
        if sender == Sender::Administrator {
            fault = self.shared.faults().next(judgement.form);
        }
        if judgement.form == UNKNOWN {
            self.shared.note_unknown(&sql);
        }
        match fault {
            None => {}
            Some(Fault::Refused(code)) => {
                let answer = self.refuse(code, "restart transaction: injected").await?;
                return self.answer(&answer).await;
            }
            Some(Fault::LostBefore) => return Ok(Done::Lost),
            Some(Fault::LostAfter) => {
                self.execute(request, judgement.verdict).await?;
                return Ok(Done::Lost);
            }
        }
        let answer = self.execute(request, judgement.verdict).await?;
        self.answer(&answer).await
    }

    async fn answer(&mut self, answer: &[u8]) -> io::Result<Done> {
        self.client.send(answer).await?;
        Ok(Done::Answered)
    }

    async fn execute(&mut self, request: &[Frame], verdict: Verdict) -> io::Result<Vec<u8>> {
        let is_simple = request[0].tag() == b'Q';
        let done = match verdict {
            Verdict::Refuse { code, message } => return self.refuse(code, &message).await,
            Verdict::Run(sql) if is_simple => return self.relay(&[query(&sql)]).await,
            Verdict::Run(sql) => return self.relay(&with(request, &sql)).await,
            _ if !is_simple => return self.refuse("0A000", "the stand-in takes this only by itself").await,
            Verdict::Unless { query: question, run } => {
                match self.socket.has_row(&self.database, &question).await {
                    Ok(false) => return self.relay(&[query(&run)]).await,
                    Ok(true) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Verdict::Elsewhere(job) => self.socket.run(&job, &self.user, &self.database).await,
        };
        match done {
            Ok(()) => Ok([complete().bytes(), self.ready().bytes()].concat()),
            Err(error) => {
                let code = error.code().map_or("XX000", |code| code.code()).to_owned();
                let message =
                    error.as_db_error().map_or(error.to_string(), |error| error.message().to_owned());
                self.refuse(&code, &message).await
            }
        }
    }

    fn ready(&self) -> Frame {
        Frame::new(b'Z', &[self.transaction])
    }

    /// Returns an error, which fails the transaction in PostgreSQL, too.
    async fn refuse(&mut self, code: &str, message: &str) -> io::Result<Vec<u8>> {
        if self.transaction == b'T' {
            self.relay(&[query("refused")]).await?;
        }
        Ok([error(code, message).bytes(), self.ready().bytes()].concat())
    }

    /// Forwards a request and returns PostgreSQL's answer, up to `ReadyForQuery` or the end.
    async fn relay(&mut self, request: &[Frame]) -> io::Result<Vec<u8>> {
        let bytes: Vec<u8> = request.iter().flat_map(|frame| frame.bytes().to_vec()).collect();
        self.server.send(&bytes).await?;
        let mut answer = Vec::new();
        while let Some(frame) = self.server.next().await? {
            answer.extend(frame.bytes());
            if frame.tag() == b'Z' {
                self.transaction = frame.body()[0];
                break;
            }
        }
        Ok(answer)
    }
}

/// The request with its statement replaced.
fn with(request: &[Frame], sql: &str) -> Vec<Frame> {
    let frames = request.iter().map(|frame| match frame.tag() {
        b'P' => parse(frame, sql),
        tag => Frame::new(tag, frame.body()),
    });
    frames.collect()
}
