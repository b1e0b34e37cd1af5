//! The answers to the questions of tasks, and what watches of single objects show.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use issuer_core::reconcile::{AwaitSourceEvent, SourceEvent, Step};
use issuer_core::reference::SourceRef;
use issuer_core::{ConnectError, Reply, Request};

use super::{Driver, Task};
use crate::source_watch::SourceWatch;
use crate::traces::ErrorType;
use crate::{Transport, token};

impl Driver {
    /// Answers the questions of one task until it is done.
    pub(super) async fn answer(self: Arc<Self>, mut task: Task, mut step: Step) {
        loop {
            step = match step {
                Step::Exchange(request, state) => {
                    let (part, operation) = (task.trace.sends(&request), request.operation);
                    let reply = Box::pin(self.exchange(&task.tenant, request)).await;
                    task.trace.replied(part, operation, &reply);
                    state.resume(&mut self.controller(), Transport::now(), reply)
                }
                Step::MintToken(source, state) => {
                    let question = Box::pin(token::obtain(&self.api, source));
                    let answer = self.ask_for(&mut task, "mint token", question).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::Publish(event, state) => {
                    self.publish(event).await;
                    state.resume(&mut self.controller())
                }
                Step::ReadConfigMap(config_map, state) => {
                    let question = Box::pin(self.api.read_config_map(&config_map));
                    let answer = self.read_for(&mut task, "read configmap", question).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::ReadNamespace(name, state) => {
                    let question = Box::pin(self.api.read_namespace(&name));
                    let answer = self.ask_for(&mut task, "read namespace", question).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::ReadRequest(request, state) => {
                    let question = Box::pin(self.api.read_request(&request));
                    let answer = self.read_for(&mut task, "read request", question).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::ReadSecret(secret, state) => {
                    let question = Box::pin(self.api.read_secret(&secret));
                    let answer = self.read_for(&mut task, "read secret", question).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::ReviewReference(review, state) => {
                    let question = Box::pin(self.api.review_reference(&review));
                    let answer = self.ask_for(&mut task, "review reference", question).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::WriteStatus(patch, state) => {
                    let question = Box::pin(self.api.write_status(patch));
                    let answer = self.ask_for(&mut task, "save", question).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::Done(outcome) => {
                    self.done(task, outcome);
                    self.changed.notify_one();
                    return;
                }
            }
        }
    }

    /// Reports what the watch of a Secret or a ConfigMap shows, until it is to be closed.
    pub(super) async fn follow(self: Arc<Self>, source: SourceRef, mut state: AwaitSourceEvent) {
        let mut watch = None;
        loop {
            let event = match &mut watch {
                Some(open) => SourceWatch::next(open).await,
                None => {
                    let opened = self.ask(Box::pin(self.api.open_watch(&source))).await;
                    opened.map(|open| {
                        watch = Some(open);
                        SourceEvent::Opened
                    })
                }
            };
            if event == Ok(SourceEvent::Ended) {
                watch = None;
            }
            let next = state.resume(&mut self.controller(), Transport::now(), event);
            self.changed.notify_one();
            match next {
                Some(next) => state = next,
                None => return,
            }
        }
    }

    /// Reads an object for a task, once there is a slot for that.
    async fn read_for<T, E: ErrorType>(
        &self,
        task: &mut Task,
        name: &'static str,
        question: Pin<Box<impl Future<Output = Result<T, E>>>>,
    ) -> Result<T, E> {
        let _slot = self.reads.acquire().await;
        self.ask_for(task, name, question).await
    }

    /// Asks the API server for a task, whose trace has the question as a part of this name.
    async fn ask_for<T, E: ErrorType>(
        &self,
        task: &mut Task,
        name: &'static str,
        question: Pin<Box<impl Future<Output = Result<T, E>>>>,
    ) -> Result<T, E> {
        let part = task.trace.asks(name);
        let answer = self.ask(question).await;
        task.trace.answered(part, &answer);
        answer
    }

    /// Asks the API server, once there is a slot.
    ///
    /// The question is boxed, so that a task takes no room for all the questions that it might ask.
    async fn ask<T>(&self, question: Pin<Box<impl Future<Output = T>>>) -> T {
        let _slot = self.api_requests.acquire().await;
        let answer = question.await;
        if let Some(wait) = self.api.take_wait() {
            tracing::warn!(?wait, "the API server is overloaded; waiting");
            self.controller().pause(Transport::now(), wait);
        }
        answer
    }

    /// Asks Vault for a tenant, once there is room. The wait is part of the time to connect, and of the time that the request may take:
    /// its contents are as old as the request.
    pub(super) async fn exchange(&self, tenant: &str, mut request: Request) -> Reply {
        let operation = request.operation;
        let began = Transport::now().monotonic;
        let patience = request.connect.limits.connect.min(request.timeout);
        let reply = match tokio::time::timeout(patience, self.exchanges.acquire()).await {
            Ok(_room) => {
                request.timeout = request.timeout.saturating_sub(Transport::now().monotonic - began);
                self.transport.call_for(tenant, request).await
            }
            Err(_) => Err(ConnectError::Timeout.into()),
        };
        let took = Transport::now().monotonic - began;
        self.metrics.record_exchange(operation, &reply, took);
        match &reply {
            Ok(reply) => tracing::debug!(
                operation = operation.as_str(),
                status = reply.status().as_u16(),
                ?took,
                "Vault answered"
            ),
            Err(error) => tracing::debug!(operation = operation.as_str(), %error, ?took, "Vault did not answer"),
        }
        reply
    }
}
