//! The gateway itself: finds the provider, sends the request, sorts refusals, hands out the answer's stream.
//!
//! Invariant: nothing reaches a model any other way, and every answer is priced on its way out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::Response;
use tokio::time::timeout;

use super::{
    answer::Growing,
    anthropic,
    config::{Api, ModelConfig, ModelSettings, Patience},
    error::ModelError,
    gate::Gates,
    openai,
    price::{self, Price},
    provider::Provider,
    request::ModelRequest,
    stream::AnswerStream,
};
use crate::{clock::now, reason::reason};

const ERROR_BODY_BYTES: usize = 64 * 1024;

/// All models a runner can reach. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    providers: BTreeMap<String, Arc<Provider>>,
    models: BTreeMap<String, ModelSettings>,
    patience: Patience,
    gates: Gates,
    said_unpriced: Mutex<BTreeSet<String>>,
}

impl Gateway {
    /// The gateway to these providers.
    ///
    /// # Errors
    /// When a provider's URL or key can't be used.
    pub fn new(config: &ModelConfig) -> Result<Self, ModelError> {
        let mut providers = BTreeMap::new();
        for (name, settings) in &config.providers {
            let provider = Provider::new(name, settings, &config.patience)?;
            providers.insert(name.clone(), Arc::new(provider));
        }
        let inner = Inner {
            providers,
            models: config.models.clone(),
            patience: config.patience,
            gates: Gates::default(),
            said_unpriced: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What a model costs; none where neither the configuration nor the table knows it, and its calls are booked as free.
    pub fn price(&self, model: &str) -> Option<Price> {
        let configured = self.inner.models.get(model).and_then(|settings| settings.price);
        configured.or_else(|| price::lookup(model).map(|known| known.price))
    }

    /// Tokens a model can have before it, its answer included.
    pub fn window(&self, model: &str) -> u64 {
        let configured = self.inner.models.get(model).and_then(|settings| settings.window);
        let known = || price::lookup(model).map(|known| known.window);
        configured.or_else(known).unwrap_or(price::UNKNOWN_WINDOW)
    }

    /// Asks a model, as soon as its limit allows. The answer has begun when this returns; the request itself is let go of when
    /// its body is made, for a model may take long to begin.
    ///
    /// # Errors
    /// When the model can't be asked or refuses; [`ModelError::Limited`] without asking it, while its limit lasts.
    pub async fn ask(&self, request: ModelRequest) -> Result<AnswerStream, ModelError> {
        let name = request.model.clone();
        let (provider, model) = self.find(&name)?;
        let entered = self.inner.gates.enter(&name).await;
        let pass = entered.map_err(|wait| ModelError::Limited {
            provider: provider.name.clone(),
            wait,
        })?;
        let answer = self.call(provider, model, request).await;
        match &answer {
            Ok(_) => pass.open(),
            Err(ModelError::RateLimited { retry_after, .. }) => pass.shut(*retry_after),
            Err(ModelError::Overloaded {
                retry_after: Some(span),
                ..
            }) => pass.shut(Some(*span)),
            Err(_) => {}
        }
        answer
    }

    async fn call(
        &self,
        provider: &Arc<Provider>,
        model: &str,
        request: ModelRequest,
    ) -> Result<AnswerStream, ModelError> {
        let body = match provider.api {
            Api::Anthropic => anthropic::body(&request, model),
            Api::Openai => openai::body(&request, model, provider.own_servers),
        };
        drop(request);
        let body = body.map_err(|error| ModelError::RequestInvalid {
            provider: provider.name.clone(),
            said: error.to_string(),
        })?;
        let asked_at = Instant::now();
        let call = provider
            .client
            .post(provider.url.clone())
            .headers(provider.headers.clone())
            .body(body);
        let sent = timeout(self.inner.patience.first_byte(), call.send()).await;
        let unavailable = |reason: String| ModelError::Unavailable {
            provider: provider.name.clone(),
            reason,
        };
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(unavailable(reason(&error))),
            Err(_) => {
                return Err(unavailable(format!(
                    "no answer for {} s",
                    self.inner.patience.first_byte_s
                )));
            }
        };
        self.begin(provider, model, response, Growing::new(asked_at))
            .await
    }

    async fn begin(
        &self,
        provider: &Arc<Provider>,
        model: &str,
        response: Response,
        mut growing: Growing,
    ) -> Result<AnswerStream, ModelError> {
        let patience = self.inner.patience;
        if !response.status().is_success() {
            let (status, headers) = (response.status(), response.headers().clone());
            let body = error_body(response, patience.idle()).await;
            return Err(provider.asked(model).refused(status, &headers, &body, now()));
        }
        let text = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let kind = text("content-type").unwrap_or_default();
        if ["application/json", "text/html"]
            .iter()
            .any(|other| kind.starts_with(other))
        {
            return Err(ModelError::AnswerMalformed {
                provider: provider.name.clone(),
                reason: format!("{kind} instead of an event stream"),
            });
        }
        model.clone_into(&mut growing.model);
        growing.request_id = text("request-id").or_else(|| text("x-request-id"));
        let name = format!("{}/{model}", provider.name);
        let price = self.price(&name);
        if price.is_none() {
            self.say_unpriced(&name);
        }
        Ok(AnswerStream::new(
            Arc::clone(provider),
            model,
            response,
            growing,
            price,
            patience,
        ))
    }

    fn find<'a>(&self, model: &'a str) -> Result<(&Arc<Provider>, &'a str), ModelError> {
        let found = model.split_once('/').filter(|(_, name)| !name.is_empty());
        let found = found.and_then(|(provider, name)| Some((self.inner.providers.get(provider)?, name)));
        found.ok_or_else(|| {
            let names: Vec<&str> = self.inner.providers.keys().map(String::as_str).collect();
            let known = match names.is_empty() {
                true => "none is".to_owned(),
                false => names.join(", "),
            };
            ModelError::ProviderUnknown {
                model: model.to_owned(),
                known,
            }
        })
    }

    fn say_unpriced(&self, model: &str) {
        let mut said = self
            .inner
            .said_unpriced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if said.insert(model.to_owned()) {
            tracing::warn!(
                model,
                table = price::TABLE_VERSION,
                "no price is known for this model: its calls are booked as free, and a limit on money does not hold it; \
                 set a price in the configuration"
            );
        }
    }
}

/// As much of an error's body as is worth reading; whatever breaks on the way, the status says enough.
async fn error_body(mut response: Response, patience: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < ERROR_BODY_BYTES {
        match timeout(patience, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            _ => break,
        }
    }
    body.truncate(ERROR_BODY_BYTES);
    body
}
