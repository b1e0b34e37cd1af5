//! The record of past observations that the checks need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use issuer_core::Operation;
use issuer_core::reconcile::Key;

use crate::fixture::{IssuerId, RequestFixture};
use crate::login::LoginRequest;
use crate::observation::{Observation, Purpose, Received, Refused, Served};
use crate::transition::ProcessId;
use crate::vault;

/// How long a replaced token may live on.
const RECENTLY: Duration = Duration::from_secs(60);

/// The record of a world.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// All requests, past ones included, by the number in their uid.
    pub requests: BTreeMap<u32, RequestRecord>,
    /// All tokens that logins created.
    pub tokens: BTreeMap<Arc<str>, TokenRecord>,
    /// The endpoints of each issuer that have answered a probe of a process or signed, since its last check failed, and when.
    pub verified: BTreeMap<(ProcessId, IssuerId), BTreeMap<Arc<str>, Duration>>,
    /// The last `Retry-After` for each issuer: since when and until when.
    pub held_off: BTreeMap<(ProcessId, IssuerId), (Duration, Duration)>,
    /// Whether the labels that the running attempt of a task has read last are those that the cluster issuer selects.
    pub namespaces_read: BTreeMap<(ProcessId, Key), bool>,
    /// The tasks that have learned of a refused status, and not told of it since: the uid in the status, and its purpose.
    pub untold: BTreeMap<(ProcessId, Key), (String, Purpose)>,
    /// The certificates that processes keep since their statuses were refused, by the number in the uid of the request.
    pub kept: BTreeSet<(ProcessId, u32)>,
    /// The number of logins, which orders the tokens: several may happen at one time.
    pub logins: u32,
    /// The number of signatures.
    pub signs: u32,
    /// The number of crashes.
    pub crashes: u32,
    /// The number of processes that started while another was running.
    pub overlaps: u32,
    /// The number of tokens that no process can revoke: the reply was lost, or the holder crashed.
    pub orphans: u32,
    /// The times of recent changes of each issuer or its Secret: when they were made, and when processes saw them.
    pub changed: BTreeMap<IssuerId, Vec<Duration>>,
    /// The number of accepted status writes.
    pub writes: u32,
    /// The wrapping tokens of all rotations.
    pub wrapping: BTreeMap<Arc<str>, WrappingRecord>,
    /// The number of requests to Vault for each issuer, without health checks.
    pub sent: [u32; IssuerId::ALL.len()],
}

/// The record of one wrapping token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WrappingRecord {
    /// The numbers of the servers that have exchanged it for its secret ID.
    pub unwrapped: BTreeSet<usize>,
    /// The processes that have received the answer to a lookup, and not asked for the secret ID since.
    pub looked_up: BTreeSet<ProcessId>,
    /// The processes that have received its secret ID.
    pub received: BTreeSet<ProcessId>,
}

/// The record of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Its index in the setup of the world.
    pub number: u16,
    /// Its fixture.
    pub fixture: RequestFixture,
    /// The number of signatures that it may still cost.
    pub credit: i16,
    /// Whether Vault refused it for good, or answered with a wrong certificate.
    pub refused: bool,
    /// Whether admission has refused to let it be claimed or its certificate be saved, and not for now only.
    pub unadmitted: bool,
    /// Whether labels of its namespace were read that the cluster issuer does not select.
    pub unselected: bool,
    /// The number of attempts to sign it without an answer about it: lost, unreadable, or a server error.
    pub unanswered: u32,
    /// The number of status writes.
    pub writes: u32,
}

/// The record of one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenRecord {
    /// The issuer.
    pub issuer: IssuerId,
    /// The number of the server.
    pub host: usize,
    /// The process that logged in.
    pub process: ProcessId,
    /// Its place in the order of logins.
    pub order: u32,
    /// When Vault created it.
    pub created: Duration,
    /// When Vault created or renewed it last.
    pub at: Duration,
    /// Whether a reply to a request with the token carried a lease.
    pub leased: bool,
}

impl Record {
    /// Returns the record of the request with a uid such as `uid-7`.
    pub fn request(&self, uid: &str) -> Option<&RequestRecord> {
        self.requests.get(&number(uid)?)
    }

    /// Records a change of an issuer or its Secret, when it is made and again when a process sees it, perhaps much later.
    pub(crate) fn change(&mut self, issuer: IssuerId, now: Duration) {
        self.held_off.retain(|(_, held), _| *held != issuer);
        let changes = self.changed.entry(issuer).or_default();
        changes.retain(|at| *at + RECENTLY > now);
        changes.push(now);
    }

    /// Returns the number of recent changes of an issuer or its Secret.
    pub(crate) fn changes(&self, issuer: IssuerId, now: Duration) -> usize {
        let changes = self.changed.get(&issuer).into_iter().flatten();
        changes.filter(|at| **at + RECENTLY > now).count()
    }

    /// Returns the time of the last change of an issuer or its Secret.
    pub(crate) fn last_change(&self, issuer: IssuerId) -> Option<Duration> {
        self.changed.get(&issuer)?.last().copied()
    }

    /// Forgets what is known of the tasks of a process, which have ended with it.
    fn end_tasks(&mut self, process: ProcessId) {
        self.namespaces_read.retain(|(of, _), _| *of != process);
        self.untold.retain(|(of, _), _| *of != process);
        self.kept.retain(|(of, _)| *of != process);
    }

    fn refused(&mut self, refused: &Refused) {
        let Refused { process, key, uid, .. } = refused;
        let untold = (uid.clone(), refused.purpose);
        self.untold.insert((*process, key.clone()), untold);
        let Some(number) = number(uid).filter(|_| refused.purpose != Purpose::Condition) else {
            return;
        };
        if refused.purpose == Purpose::Certificate {
            self.kept.insert((*process, number));
        }
        if let Some(request) = self.request_mut(number) {
            request.unadmitted |= !refused.is_for_now;
        }
    }

    fn request_mut(&mut self, number: u32) -> Option<&mut RequestRecord> {
        self.requests.get_mut(&number)
    }

    /// Records an observation.
    pub(crate) fn note(&mut self, now: Duration, observation: &Observation, issuer: Option<IssuerId>) {
        match observation {
            Observation::Crashed(process, tokens) => {
                self.end_tasks(*process);
                self.crashes += 1;
                self.orphans += tokens;
                self.requests.values_mut().for_each(|request| request.credit += 1);
            }
            // What a process could not save before its deadline is lost like in a crash.
            Observation::Stopped(stopped) if stopped.unsaved > 0 => {
                self.requests.values_mut().for_each(|request| request.credit += 1);
            }
            Observation::Started(process) => {
                self.held_off.retain(|(held, _), _| held != process);
                self.end_tasks(*process);
                for wrapping in self.wrapping.values_mut() {
                    wrapping.looked_up.remove(process);
                    wrapping.received.remove(process);
                }
            }
            Observation::Finished(process, key, _) => {
                let task = (*process, key.clone());
                self.namespaces_read.remove(&task);
                self.untold.remove(&task);
            }
            Observation::Refused(refused) => self.refused(refused),
            Observation::Published(process, event) | Observation::Unpublished(process, event) => {
                let task = (*process, event.regarding.clone());
                // That a certificate was issued does not say that it was not saved.
                let is_told = |(_, purpose): &(String, Purpose)| event.warning || *purpose != Purpose::Certificate;
                if self.untold.get(&task).is_some_and(is_told) {
                    self.untold.remove(&task);
                }
            }
            Observation::NamespaceRead(read) => {
                self.namespaces_read
                    .insert((read.process, read.key.clone()), read.selected);
                let request = read.request.and_then(|number| self.request_mut(number));
                request
                    .into_iter()
                    .for_each(|request| request.unselected |= !read.selected);
            }
            Observation::Served(served) => self.served(now, served, issuer),
            Observation::Received(received) => self.received(now, received, issuer),
            Observation::Sent(sent) => {
                if let (Some(LoginRequest::Unwrap), Some(token)) = (sent.login, sent.wrapping.as_deref())
                    && let Some(wrapping) = self.wrapping.get_mut(token)
                {
                    wrapping.looked_up.remove(&sent.process);
                }
                if let (Some(issuer), true) = (issuer, sent.operation != Operation::Health) {
                    self.sent
                        .iter_mut()
                        .zip(IssuerId::ALL)
                        .filter(|(_, id)| *id == issuer)
                        .for_each(|(n, _)| *n += 1);
                }
            }
            Observation::Wrote(wrote) => {
                if let Ok(after) = &wrote.after {
                    self.writes += u32::from(!wrote.clears_warning());
                    let request = number(after.uid()).and_then(|number| self.request_mut(number));
                    request.into_iter().for_each(|request| request.writes += 1);
                }
            }
            _ => {}
        }
    }

    /// Records that an endpoint has answered a probe or signed, or that a check has failed since.
    fn prove(&mut self, now: Duration, received: &Received, issuer: IssuerId) {
        let status = received.reply.as_ref().map_or(0, |reply| reply.status().as_u16());
        let key = (received.process, issuer);
        match (received.operation, status) {
            (Operation::Probe, 400 | 500) | (Operation::Sign, 200) => {
                let urls = self.verified.entry(key).or_default();
                urls.insert(received.url.as_str().into(), now);
            }
            (Operation::Probe, _) | (Operation::Health, 0 | 500..) => {
                self.verified.remove(&key);
            }
            _ => {}
        }
    }

    fn served(&mut self, now: Duration, served: &Served, issuer: Option<IssuerId>) {
        self.signs += u32::from(served.signed.is_some());
        if let Some(request) = served.signed.and_then(|csr| self.request_mut(csr)) {
            request.credit -= 1;
        }
        if let (Some((grant, host)), Some(issuer)) = (&served.granted, issuer) {
            self.logins += 1;
            let token = TokenRecord {
                issuer,
                host: *host,
                process: served.process,
                order: self.logins,
                created: now,
                at: now,
                leased: false,
            };
            self.tokens.insert(Arc::clone(&grant.token), token);
        }
        let renewed = served.renewed.as_deref().and_then(|token| self.tokens.get_mut(token));
        renewed.into_iter().for_each(|token| token.at = now);
        if let Some((token, host)) = &served.unwrapped {
            let wrapping = self.wrapping.entry(Arc::clone(token)).or_default();
            wrapping.unwrapped.insert(*host);
        }
    }

    /// Records what a process learns about a wrapping token.
    fn received_wrapped(&mut self, received: &Received) {
        let Some(reply) = received.reply.as_ref().ok().filter(|reply| reply.status().is_success()) else {
            return;
        };
        let wrapping = received.wrapping.as_deref();
        let Some(wrapping) = wrapping.and_then(|token| self.wrapping.get_mut(token)) else {
            return;
        };
        let processes = match received.login {
            Some(LoginRequest::Lookup) => &mut wrapping.looked_up,
            Some(LoginRequest::Unwrap) if vault::has_secret_id(reply.body().as_bytes()) => &mut wrapping.received,
            Some(LoginRequest::AwsKeys | LoginRequest::Token | LoginRequest::Unwrap) | None => return,
        };
        processes.insert(received.process);
    }

    fn received(&mut self, now: Duration, received: &Received, issuer: Option<IssuerId>) {
        if received.lost {
            if received.operation == Operation::Login {
                self.orphans += 1;
            }
            if let Some(request) = received.csr.and_then(|csr| self.request_mut(csr)) {
                request.credit += 1;
            }
        }
        self.received_wrapped(received);
        let revoked = received.reply.as_ref().is_ok_and(|reply| reply.status().is_success());
        if received.operation == Operation::Revoke && !revoked {
            self.orphans += 1;
        }
        if let Some(issuer) = issuer {
            self.prove(now, received, issuer);
        }
        let answered = received
            .reply
            .as_ref()
            .is_ok_and(|reply| !reply.status().is_server_error());
        if let Some(request) = received.csr.and_then(|csr| self.request_mut(csr)) {
            request.unanswered += u32::from(!answered || received.lost);
        }
        let Ok(reply) = &received.reply else {
            return;
        };
        let status = reply.status().as_u16();
        let token = received.token.as_deref().and_then(|token| self.tokens.get_mut(token));
        if let Some(token) = token {
            token.leased |= vault::has_lease(reply.body().as_bytes());
        }
        if let Some(request) = received.csr.and_then(|csr| self.request_mut(csr)) {
            request.refused |= status == 400 || received.wrong;
        }
        let Some(issuer) = issuer else {
            return;
        };
        let after = reply
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let (429, Some(seconds)) = (status, after) {
            let until = now + Duration::from_secs(seconds);
            self.held_off.insert((received.process, issuer), (now, until));
        }
    }
}

/// Returns the number in a uid such as `uid-7`.
pub fn number(uid: &str) -> Option<u32> {
    uid.strip_prefix("uid-")?.parse().ok()
}
