//! The production controller, whose steps are computed once.
//!
//! The controller is a pure function of its state, the time and its input, and the states of a world are made of far fewer
//! states of controllers: each is reached again and again beside other states of the rest. So the explorer looks up most
//! steps instead of performing them. An entry holds only for exactly the same state, time and input, times and jitter
//! included, in which it differs from the [digest](crate::digest) of a state.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;

use fake_kube::Object;
use issuer_core::access::{ReadError, SecretData};
use issuer_core::reconcile::{Change, Controller, Key, Step, WriteError};
use issuer_core::{Now, Reply, Request, Secret};
use serde_json::Value;

use crate::cache::Cache;
use crate::shared::{Interner, Shared};

/// The controller of a process. Clones share its state until one of them changes.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    controller: Shared<Controller>,
    /// Whether its steps are looked up.
    memoised: bool,
}

/// An answer to a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Given {
    Published,
    Reply(Shared<Reply>),
    Request(Result<Shared<Object>, ReadError>),
    Secret(Result<Shared<SecretData>, ReadError>),
    Token(Result<Token, ReadError>),
    Written(Result<(), WriteError>),
}

/// A service account token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Token(pub(crate) Secret);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// An input of a controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Input {
    /// An answer to a step.
    Answer(Shared<Step>, Given),
    /// A watch shows an object.
    Changed(Shared<Object>),
    /// A watch shows that an object is gone.
    Deleted(Shared<Object>),
    /// The driver asks for the next task.
    Poll,
}

/// The outcome of an input: the state afterwards, and the next step with the key of its task if that is new.
#[derive(Clone, Debug)]
struct Output {
    controller: Shared<Controller>,
    key: Option<Arc<Key>>,
    step: Option<Shared<Step>>,
}

static OUTPUTS: Cache<(u64, Now, Input), Output> = Cache::new(1 << 15);
static CONTROLLERS: Interner<Controller> = Interner::new(1 << 14);
static STEPS: Interner<Step> = Interner::new(1 << 14);

impl Machine {
    pub(crate) fn new(controller: Controller, memoised: bool) -> Self {
        Self {
            controller: Shared::new(controller),
            memoised,
        }
    }

    /// Returns the identity of the state; `None` if steps are not looked up, and states have none.
    pub(crate) fn identity(&self) -> Option<u64> {
        self.memoised.then(|| self.controller.id())
    }

    /// Changes the controller, without a look-up.
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut Controller) -> R) -> R {
        let result = change(self.controller.make_mut());
        if self.memoised {
            self.controller = intern_controller(self.controller.arc());
        }
        result
    }

    /// Begins the next task that is due.
    pub(crate) fn poll(&mut self, now: Now) -> Option<(Arc<Key>, Shared<Step>)> {
        let Output { key, step, .. } = self.take(now, Input::Poll);
        key.zip(step)
    }

    /// Records that a watch has shown an object.
    pub(crate) fn changed(&mut self, now: Now, object: Shared<Object>) {
        self.take(now, Input::Changed(object));
    }

    /// Records that a watch has shown that an object is gone.
    pub(crate) fn deleted(&mut self, now: Now, object: Shared<Object>) {
        self.take(now, Input::Deleted(object));
    }

    /// Resumes a task with the answer to its step; returns the next step.
    pub(crate) fn resume(&mut self, now: Now, step: Shared<Step>, given: Given) -> Option<Shared<Step>> {
        self.take(now, Input::Answer(step, given)).step
    }

    fn take(&mut self, now: Now, input: Input) -> Output {
        if !self.memoised {
            let (key, step) = perform(self.controller.make_mut(), now, input);
            return Output {
                controller: self.controller.clone(),
                key,
                step: step.map(Shared::new),
            };
        }
        let output = OUTPUTS.get_or((self.controller.id(), now, input.clone()), || {
            let mut controller = Controller::clone(&self.controller);
            let (key, step) = perform(&mut controller, now, input);
            Output {
                controller: intern_controller(&Arc::new(controller)),
                key,
                step: step.map(|step| intern_step(&Arc::new(step))),
            }
        });
        self.controller = output.controller.clone();
        output
    }
}

impl Deref for Machine {
    type Target = Controller;

    fn deref(&self) -> &Controller {
        &self.controller
    }
}

/// Gives a controller an input.
fn perform(controller: &mut Controller, now: Now, input: Input) -> (Option<Arc<Key>>, Option<Step>) {
    match input {
        Input::Answer(step, given) => (None, resume(controller, now, step.unwrap_or_clone(), given)),
        Input::Changed(object) => {
            controller.observe(now, changed(&object));
            (None, None)
        }
        Input::Deleted(object) => {
            controller.observe(now, deleted(&object));
            (None, None)
        }
        Input::Poll => match controller.poll(now) {
            Some((key, step)) => (Some(Arc::new(key)), Some(step)),
            None => (None, None),
        },
    }
}

/// Resumes a task; `None` if the answer is not of the kind that its step asks for.
fn resume(controller: &mut Controller, now: Now, step: Step, given: Given) -> Option<Step> {
    Some(match (step, given) {
        (Step::Exchange(_, waits), Given::Reply(reply)) => waits.resume(controller, now, reply.unwrap_or_clone()),
        (Step::MintToken(_, waits), Given::Token(token)) => {
            waits.resume(controller, now, token.map(|Token(token)| token))
        }
        (Step::Publish(_, waits), _) => waits.resume(controller),
        (Step::ReadConfigMap(_, waits), Given::Secret(data)) => {
            waits.resume(controller, now, data.map(Shared::unwrap_or_clone))
        }
        (Step::ReadRequest(_, waits), Given::Request(object)) => {
            let request = object.and_then(|object| object.request().cloned().ok_or(ReadError::NotFound));
            waits.resume(controller, now, request)
        }
        (Step::ReadSecret(_, waits), Given::Secret(secret)) => {
            waits.resume(controller, now, secret.map(Shared::unwrap_or_clone))
        }
        (Step::WriteStatus(_, waits), Given::Written(written)) => waits.resume(controller, now, written),
        _ => return None,
    })
}

/// Returns the change that a watch delivers when it shows an object.
pub(crate) fn changed(object: &Object) -> Change {
    match (object.clone(), object.key()) {
        (Object::ClusterIssuer(issuer), Key::Issuer(key)) => Change::Issuer(key, issuer.into()),
        (Object::Issuer(issuer), Key::Issuer(key)) => Change::Issuer(key, issuer.into()),
        (Object::Request(request), _) => Change::Request(request),
        (Object::ClusterIssuer(_) | Object::Issuer(_), _) => Change::Requests(BTreeSet::new()),
    }
}

/// Returns the change that a watch delivers when it shows that an object is gone.
pub(crate) fn deleted(object: &Object) -> Change {
    match object.key() {
        Key::Issuer(key) => Change::IssuerGone(key),
        Key::Request(key) => Change::RequestGone(key),
        Key::Token(_) => Change::Requests(BTreeSet::new()),
    }
}

fn intern_controller(controller: &Arc<Controller>) -> Shared<Controller> {
    CONTROLLERS.intern(controller, |controller| controller, Controller::eq)
}

fn intern_step(step: &Arc<Step>) -> Shared<Step> {
    STEPS.intern(step, hashed, equal)
}

/// Returns the parts of a step by which it is found.
fn hashed(step: &Step) -> impl Hash {
    match step {
        Step::Exchange(request, _) => (0_u8, Some(request.http.body().as_bytes()), None),
        Step::MintToken(spec, _) => (1, Some(spec.service_account.as_bytes()), None),
        Step::Publish(event, _) => (2, Some(event.note.as_bytes()), None),
        Step::ReadRequest(key, _) => (3, Some(key.name.as_bytes()), None),
        Step::ReadSecret(secret, _) => (4, Some(secret.name.as_bytes()), None),
        Step::WriteStatus(patch, _) => {
            let version = patch.body.pointer("/metadata/resourceVersion");
            (5, version.and_then(Value::as_str).map(str::as_bytes), None)
        }
        Step::Done(outcome) => (6, None, Some(*outcome)),
        Step::ReadConfigMap(config_map, _) => (7, Some(config_map.name.as_bytes()), None),
    }
}

fn equal(one: &Step, other: &Step) -> bool {
    match (one, other) {
        (Step::Exchange(a, waits), Step::Exchange(b, others)) => waits == others && equal_request(a, b),
        (Step::MintToken(a, waits), Step::MintToken(b, others)) => a == b && waits == others,
        (Step::Publish(a, waits), Step::Publish(b, others)) => a == b && waits == others,
        (Step::ReadConfigMap(a, waits), Step::ReadConfigMap(b, others)) => a == b && waits == others,
        (Step::ReadRequest(a, waits), Step::ReadRequest(b, others)) => a == b && waits == others,
        (Step::ReadSecret(a, waits), Step::ReadSecret(b, others)) => a == b && waits == others,
        (Step::WriteStatus(a, waits), Step::WriteStatus(b, others)) => a == b && waits == others,
        (Step::Done(a), Step::Done(b)) => a == b,
        _ => false,
    }
}

fn equal_request(one: &Request, other: &Request) -> bool {
    let (a, b) = (&one.http, &other.http);
    one.operation == other.operation
        && one.timeout == other.timeout
        && one.connect == other.connect
        && (a.method(), a.uri(), a.headers(), a.body()) == (b.method(), b.uri(), b.headers(), b.body())
}
