//! Descriptions of transitions for traces.

use issuer_core::reconcile::Step;
use serde_json::Value;

use super::World;
use crate::log::key_name;
use crate::login::LoginRequest;
use crate::process::Process;
use crate::transition::Transition;

impl World {
    /// Describes what a transition is about, for printed traces; empty if its name says it all.
    pub fn describe(&self, transition: Transition) -> String {
        match transition {
            Transition::Answer(id, at)
            | Transition::Apply(id, at)
            | Transition::Deliver(id, at)
            | Transition::Fail(id, at, _) => {
                let key = self.key_in_flight(id, at);
                let in_flight = key.as_ref().and_then(|key| self.process(id)?.in_flight.get(key));
                let Some((key, in_flight)) = key.as_ref().zip(in_flight) else {
                    return String::new();
                };
                format!("{}: {}", key_name(key), describe_step(&in_flight.step))
            }
            Transition::Tick(id) => {
                let at = self.process(id).and_then(Process::next_wake).unwrap_or_default();
                format!("{:?} later", at.saturating_sub(self.now))
            }
            Transition::Watch(id, kind) => {
                let next = self
                    .process(id)
                    .and_then(|process| self.cluster.watch(kind, process.cursor(kind)).ok()?.next());
                next.map_or_else(String::new, |event| {
                    format!("{:?} {}", event.change, event.object.uid())
                })
            }
            _ => String::new(),
        }
    }
}

fn describe_step(step: &Step) -> String {
    match step {
        Step::Exchange(request, _) => {
            let login = LoginRequest::of(request).map(LoginRequest::as_str);
            login.unwrap_or(request.operation.as_str()).to_owned()
        }
        Step::MintToken(..) => "request a token".to_owned(),
        Step::Publish(event, _) => format!("event {}", event.reason),
        Step::ReadConfigMap(..) => "read its ConfigMap".to_owned(),
        Step::ReadNamespace(..) => "read its namespace".to_owned(),
        Step::ReadRequest(..) => "read it".to_owned(),
        Step::ReadSecret(..) => "read its Secret".to_owned(),
        Step::ReviewReference(..) => "ask whether its requester may reference the issuer".to_owned(),
        Step::WriteStatus(patch, _) => {
            let body = patch.value();
            let conditions = body.pointer("/status/conditions").and_then(Value::as_array);
            let reasons = conditions
                .into_iter()
                .flatten()
                .filter_map(|c| c.get("reason")?.as_str());
            format!("write its status: {}", reasons.collect::<Vec<_>>().join(", "))
        }
        Step::Done(_) => String::new(),
    }
}
