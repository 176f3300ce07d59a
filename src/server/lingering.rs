//! Closes an HTTP/2 connection after GOAWAY without losing requests. A client may have started a request before it
//! reads GOAWAY. If the server closed the connection at once, the client's next write would fail, and Go's client
//! does not repeat such a request. While the connection is open, the client reads GOAWAY, repeats unanswered requests
//! elsewhere, and closes the connection itself.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long a client may take to close the connection. It needs one round trip.
const LONGEST: Duration = Duration::from_secs(2);

/// A stream that shuts down once the other side has closed it or the time is over.
pub(super) struct Lingering<S> {
    stream: S,
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, until: None }
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    /// Ready when the wait is over. Data that arrives meanwhile would not have been answered.
    fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut unread = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut unread);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        self.until.get_or_insert_with(|| Box::pin(sleep(LONGEST))).as_mut().poll(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        ready!(self.poll_closed(context));
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::{Instant, timeout},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn writes_of_the_client_are_read_until_it_closes() {
        let (mut client, server) = duplex(64);
        let mut server = Lingering::new(server);
        let ended = tokio::spawn(async move { server.shutdown().await.map(|()| server) });
        for _ in 0..10 {
            client.write_all(&[0; 64]).await.unwrap();
        }
        assert!(!ended.is_finished());
        drop(client);
        let began = Instant::now();
        ended.await.unwrap().unwrap();
        assert!(began.elapsed() < LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_client_to_close_is_limited() {
        let (mut client, server) = duplex(64);
        let mut server = Lingering::new(server);
        timeout(LONGEST * 2, server.shutdown()).await.unwrap().unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}
