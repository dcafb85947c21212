//! A model's answer as it comes: bytes → events → pieces → the whole.
//!
//! Invariant: an answer comes out only when the provider has said that it is complete; anything less is an error.

use std::{collections::VecDeque, mem, sync::Arc};

use reqwest::Response;
use roost_shared::{
    MicroUsd,
    transcript::{Answer, Usage},
};
use tokio::time::timeout;

use super::{
    answer::{Delta, Growing, Step},
    anthropic,
    config::{Api, Patience},
    error::ModelError,
    openai,
    price::Price,
    provider::Provider,
};
use crate::{
    reason::reason,
    sse::{SseEvent, SseParser},
};

/// A model's answer as it comes. Dropping it ends the call.
#[derive(Debug)]
pub struct AnswerStream {
    provider: Arc<Provider>,
    model: String,
    response: Response,
    reader: Reader,
    parser: SseParser,
    events: VecDeque<SseEvent>,
    /// None once the answer is out.
    growing: Option<Growing>,
    bytes: usize,
    price: Option<Price>,
    patience: Patience,
}

#[derive(Debug)]
enum Reader {
    Anthropic(anthropic::Reader),
    Openai(openai::Reader),
}

/// The next thing a stream has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// A piece of the answer, for those who watch.
    Delta(Delta),
    /// The complete answer; nothing follows it.
    Answer(Box<Answer>),
}

impl AnswerStream {
    /// The answer that `response` brings from `provider` to a question for `model`.
    pub(super) fn new(
        provider: Arc<Provider>,
        model: &str,
        mut response: Response,
        growing: Growing,
        price: Option<Price>,
        patience: Patience,
    ) -> Self {
        // They would keep the whole buffer that they were read into, for as long as the model speaks.
        drop(mem::take(response.headers_mut()));
        Self {
            reader: match provider.api {
                Api::Anthropic => Reader::Anthropic(anthropic::Reader::default()),
                Api::Openai => Reader::Openai(openai::Reader::default()),
            },
            provider,
            model: model.to_owned(),
            response,
            parser: SseParser::new(patience.max_answer_bytes),
            events: VecDeque::new(),
            growing: Some(growing),
            bytes: 0,
            price,
            patience,
        }
    }

    /// The next piece; none after the answer.
    ///
    /// # Errors
    /// When the stream breaks off, the provider says that the call failed, or what it sends can't be read.
    pub async fn next(&mut self) -> Result<Option<Piece>, ModelError> {
        while let Some(growing) = &mut self.growing {
            if let Some(delta) = growing.next_delta() {
                return Ok(Some(Piece::Delta(delta)));
            }
            if let Some(event) = self.events.pop_front() {
                let step = match &mut self.reader {
                    Reader::Anthropic(reader) => reader.read(&event.data, growing),
                    Reader::Openai(reader) => reader.read(&event.data, growing),
                };
                match step {
                    Ok(Step::More) => {}
                    Ok(Step::Done) => return Ok(self.finish()),
                    Ok(Step::Failed(error)) => return Err(self.provider.asked(&self.model).failed(&error)),
                    Err(error) => {
                        let (provider, reason) = (self.provider.name.clone(), error.to_string());
                        return Err(ModelError::AnswerMalformed { provider, reason });
                    }
                }
                continue;
            }
            if !self.receive().await? {
                return Ok(self.finish());
            }
        }
        Ok(None)
    }

    /// The tokens of an answer that broke off, as far as they are known, and what they cost.
    pub fn spent(&self) -> (Usage, MicroUsd) {
        let usage = self.growing.as_ref().map(Growing::spent).unwrap_or_default();
        let cost = self.price.map(|price| price.cost(usage)).unwrap_or_default();
        (usage, cost)
    }

    /// Reads to the end, showing every piece to `watch`.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn answer(&mut self, mut watch: impl FnMut(Delta) + Send) -> Result<Answer, ModelError> {
        loop {
            match self.next().await? {
                Some(Piece::Delta(delta)) => watch(delta),
                Some(Piece::Answer(answer)) => return Ok(*answer),
                None => return Err(self.cut("it ended without an answer".to_owned())),
            }
        }
    }

    /// Takes the next bytes; false where the stream ends after a complete answer.
    async fn receive(&mut self) -> Result<bool, ModelError> {
        let chunk = match timeout(self.patience.idle(), self.response.chunk()).await {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => return Err(self.cut(reason(&error))),
            Err(_) => return Err(self.cut(format!("it was silent for {} s", self.patience.idle_s))),
        };
        let Some(chunk) = chunk else {
            // Not every server says goodbye; one that gave its reason to stop was done.
            return match &self.growing {
                Some(growing) if growing.stop.is_some() => Ok(false),
                _ => Err(self.cut(format!(
                    "it ended after {} bytes without a reason to stop",
                    self.bytes
                ))),
            };
        };
        if let Some(growing) = &mut self.growing {
            growing.byte_came();
        }
        self.bytes += chunk.len();
        let limit = self.patience.max_answer_bytes;
        let too_large = ModelError::AnswerTooLarge { limit };
        if self.bytes > limit || self.parser.feed(&chunk, &mut self.events).is_err() {
            return Err(too_large);
        }
        Ok(true)
    }

    fn finish(&mut self) -> Option<Piece> {
        let mut answer = self.growing.take()?.finish();
        answer.cost = self
            .price
            .map(|price| price.cost(answer.usage))
            .unwrap_or_default();
        Some(Piece::Answer(Box::new(answer)))
    }

    fn cut(&self, reason: String) -> ModelError {
        let provider = self.provider.name.clone();
        ModelError::StreamCut { provider, reason }
    }
}
