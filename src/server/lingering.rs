//! The end of an HTTP/2 connection that was sent GOAWAY. A client may have begun a request before it read that; were the
//! connection closed at once, its next write would fail, and Go's client does not repeat such a request. As long as the
//! connection is open the client reads GOAWAY, repeats elsewhere what was not answered, and closes by itself.

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

/// How long a client may take to close. It takes one round trip.
const LONGEST: Duration = Duration::from_secs(2);

/// A stream that is shut down once the other side has closed it, or did not for a while.
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
    /// Ready when there is nothing to wait for any more. What comes meanwhile was not going to be answered.
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
    async fn what_a_client_still_writes_is_taken_until_it_closes() {
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
    async fn a_client_that_does_not_close_is_not_waited_for_for_ever() {
        let (mut client, server) = duplex(64);
        let mut server = Lingering::new(server);
        timeout(LONGEST * 2, server.shutdown()).await.unwrap().unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}
