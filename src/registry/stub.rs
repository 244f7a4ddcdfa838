//! A schema registry for tests, which answers as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What the stub answers to the head of a request: the bytes of a whole HTTP answer. `None` for no answer at all.
pub(crate) type Answers = fn(&str) -> Option<String>;

/// A registry that answers as it is told.
pub(crate) struct Stub {
    pub(crate) url: String,
    asked: Arc<AtomicUsize>,
    /// Ends the server when the stub ends.
    _server: JoinSet<()>,
}

impl Stub {
    /// A server that answers with `answers` until it is dropped.
    pub(crate) async fn start(answers: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::start_slow(Duration::ZERO, answers).await
    }

    /// The same, and each answer comes after so much time.
    pub(crate) async fn start_slow(
        delay: Duration,
        answers: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (asked, mut server) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        let (count, answers) = (asked.clone(), Arc::new(answers));
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (count, answers) = (count.clone(), answers.clone());
                connections.spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(delay).await;
                    match answers(&String::from_utf8_lossy(&head)) {
                        Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { url, asked, _server: server }
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A whole answer.
pub(crate) fn answer(status: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()))
}
