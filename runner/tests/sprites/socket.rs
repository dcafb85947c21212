//! A client that speaks the wire itself: what the client library would never send, and what it hides.

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderValue, Response},
    },
};

use crate::fixture::{PATIENCE, TOKEN};

pub(crate) struct Socket(pub(crate) WebSocketStream<TcpStream>);

impl Socket {
    /// Opens `path` of the host at `base`, `http://127.0.0.1:PORT`.
    pub(crate) async fn open(base: &str, path: &str) -> Result<Self, Box<Response<Option<Vec<u8>>>>> {
        let address = base.strip_prefix("http://").unwrap();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        let token = HeaderValue::from_str(&format!("Bearer {TOKEN}")).unwrap();
        request.headers_mut().insert("authorization", token);
        let stream = TcpStream::connect(address).await.unwrap();
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(response),
            Err(other) => panic!("{other}"),
        }
    }

    pub(crate) async fn text(&mut self, text: impl Into<String>) {
        self.0.send(Message::Text(text.into().into())).await.unwrap();
    }

    pub(crate) async fn bytes(&mut self, bytes: impl Into<Vec<u8>>) {
        self.0.send(Message::Binary(bytes.into().into())).await.unwrap();
    }

    /// The next message that is no ping.
    pub(crate) async fn next(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("a message in time");
            match message.expect("more messages").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next text message, as JSON behind what it starts with.
    pub(crate) async fn json(&mut self, prefix: &str) -> Value {
        loop {
            if let Message::Text(text) = self.next().await
                && let Some(json) = text.strip_prefix(prefix)
            {
                return serde_json::from_str(json).unwrap();
            }
        }
    }

    /// Starts an operation on a control connection.
    pub(crate) async fn start(&mut self, op: &str, args: Value) {
        let start = serde_json::json!({ "type": "op.start", "op": op, "args": args });
        self.text(format!("control:{start}")).await;
    }
}
