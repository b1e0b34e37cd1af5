//! The questions of tasks to the driver, and the continuations that take the answers.

use std::sync::Arc;

use super::outcome::{Ending, Event, Outcome};
use super::request::ReferenceReview;
use super::status::StatusPatch;
use super::{check, request, revoke};
use crate::reference::{ConfigMapRef, RequestKey, SecretRef, SourceRef, TokenSource};
use crate::{Request, access};

/// A question for the driver, with the continuation that takes its answer.
#[must_use]
#[derive(Clone, Debug)]
pub enum Step {
    /// Send this request to Vault.
    Exchange(Request, AwaitReply),
    /// Obtain this token of a service account.
    MintToken(TokenSource, AwaitToken),
    /// Publish this event.
    Publish(Event, AwaitPublish),
    /// Read this ConfigMap.
    ReadConfigMap(ConfigMapRef, AwaitConfigMap),
    /// Read the labels of this namespace from the API server, not from a cache.
    ReadNamespace(Arc<str>, AwaitNamespace),
    /// Read this request from the API server, not from a cache.
    ReadRequest(RequestKey, AwaitRequest),
    /// Read this Secret.
    ReadSecret(SecretRef, AwaitSecret),
    /// Ask the API server whether a user may reference an issuer.
    ReviewReference(ReferenceReview, AwaitReview),
    /// Write this status.
    WriteStatus(StatusPatch, AwaitWrite),
    /// The task has ended.
    Done(Outcome),
}

/// Awaits a reply from Vault.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitReply(pub(super) Replied);

/// The task that a reply from Vault is for.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Replied {
    Check(check::Task, Box<access::AwaitReply>),
    Revoke(revoke::Task),
    Sign(Box<request::Signing>),
}

/// Awaits a service account token.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitToken(pub(super) check::Task, pub(super) Box<access::AwaitToken>);

/// Awaits a ConfigMap.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitConfigMap(pub(super) check::Task, pub(super) access::AwaitConfigMap);

/// Awaits a Secret.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitSecret(pub(super) check::Task, pub(super) access::AwaitSecret);

/// Awaits what the watch of a Secret or a ConfigMap shows next.
#[must_use]
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitSourceEvent(pub(super) SourceRef);

/// Awaits a request, read anew.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitRequest(pub(super) request::Task);

/// Awaits the labels of a namespace.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitNamespace(pub(super) request::Task);

/// Awaits whether a user may reference an issuer.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitReview(pub(super) Box<request::Reviewing>);

/// Awaits the result of a status write.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitWrite(pub(super) Written);

/// The task that wrote a status.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Written {
    Check(check::Writing),
    Request(Box<request::Writing>),
}

/// Awaits the publication of an event, whether it succeeds or not: nothing depends on it.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitPublish(pub(super) Ending);

impl From<check::Step> for Step {
    fn from(step: check::Step) -> Self {
        match step {
            check::Step::Exchange(request, task, access) => {
                Self::Exchange(request, AwaitReply(Replied::Check(task, access.into())))
            }
            check::Step::MintToken(source, task, access) => Self::MintToken(source, AwaitToken(task, access.into())),
            check::Step::ReadConfigMap(config_map, task, access) => {
                Self::ReadConfigMap(config_map, AwaitConfigMap(task, access))
            }
            check::Step::ReadSecret(secret, task, access) => Self::ReadSecret(secret, AwaitSecret(task, access)),
            check::Step::Write(patch, writing) => Self::WriteStatus(patch, AwaitWrite(Written::Check(writing))),
            check::Step::Publish(event, ending) => Self::Publish(event, AwaitPublish(ending)),
            check::Step::Done(outcome) => Self::Done(outcome),
        }
    }
}

impl From<request::Step> for Step {
    fn from(step: request::Step) -> Self {
        match step {
            request::Step::Send(request, signing) => Self::Exchange(request, AwaitReply(Replied::Sign(signing))),
            request::Step::ReadNamespace(name, task) => Self::ReadNamespace(name, AwaitNamespace(task)),
            request::Step::Read(key, task) => Self::ReadRequest(key, AwaitRequest(task)),
            request::Step::Review(review, reviewing) => Self::ReviewReference(review, AwaitReview(reviewing)),
            request::Step::Write(patch, writing) => Self::WriteStatus(patch, AwaitWrite(Written::Request(writing))),
            request::Step::Publish(event, ending) => Self::Publish(event, AwaitPublish(ending)),
            request::Step::Done(outcome) => Self::Done(outcome),
        }
    }
}

impl From<revoke::Step> for Step {
    fn from(step: revoke::Step) -> Self {
        match step {
            revoke::Step::Send(request, task) => Self::Exchange(request, AwaitReply(Replied::Revoke(task))),
            revoke::Step::Done(outcome) => Self::Done(outcome),
        }
    }
}
