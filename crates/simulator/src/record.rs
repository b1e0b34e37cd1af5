//! What has happened so far, as far as the checks must know it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use issuer_core::Operation;

use crate::event::Who;
use crate::fact::{Fact, Replied};
use crate::fixture::{IssuerId, Want};

/// How long a token may live on that another has taken the place of.
const LATELY: Duration = Duration::from_secs(60);

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The requests that ever were, by the number of their uid.
    pub requests: BTreeMap<u32, Request>,
    /// The tokens that were made, each with whom it was made for.
    pub tokens: BTreeMap<Arc<str>, Token>,
    /// When an issuer was last found to be able to sign, by whom, and where.
    pub verified: BTreeMap<(Who, IssuerId), (Duration, Arc<str>)>,
    /// Until when Vault does not want to be asked for an issuer, and since when.
    pub held_off: BTreeMap<(Who, IssuerId), (Duration, Duration)>,
    /// The certificates signed so far.
    pub signs: u32,
    /// The crashes so far.
    pub crashes: u32,
    /// The processes that worked beside another.
    pub overlaps: u32,
    /// The logins whose token nobody can revoke: the reply was lost, or the holder died.
    pub orphans: u32,
    /// When an issuer, or its Secret, was changed last.
    pub changed: BTreeMap<IssuerId, Vec<Duration>>,
    /// The writes of a status that were taken.
    pub writes: u32,
    /// The requests to Vault for each issuer, but for those to its health.
    pub asked: [u32; 3],
}

/// What has happened to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its place among those of the world.
    pub number: u16,
    /// What it is.
    pub want: Want,
    /// How many signatures more it may cost.
    pub credit: i16,
    /// Whether Vault, or the request itself, gave reason to fail it.
    pub refused: bool,
    /// How often its status was written.
    pub writes: u32,
}

impl Hash for Request {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.number, self.want, self.credit, self.refused).hash(state);
    }
}

/// A token of a login.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// The issuer that it was made for.
    pub issuer: IssuerId,
    /// The server that made it.
    pub host: usize,
    /// When Vault made or renewed it.
    pub at: Duration,
}

impl Record {
    /// Returns what is known of the request of a uid such as `uid-7`.
    pub fn request(&self, uid: &str) -> Option<&Request> {
        self.requests.get(&number(uid)?)
    }

    /// Notes that an issuer, or its Secret, is changed.
    pub(crate) fn change(&mut self, issuer: IssuerId, now: Duration) {
        self.held_off.retain(|(_, held), _| *held != issuer);
        let changes = self.changed.entry(issuer).or_default();
        changes.retain(|at| *at + LATELY > now);
        changes.push(now);
    }

    /// Returns how often an issuer, or its Secret, was changed of late.
    pub(crate) fn changes(&self, issuer: IssuerId, now: Duration) -> usize {
        let changes = self.changed.get(&issuer).into_iter().flatten();
        changes.filter(|at| **at + LATELY > now).count()
    }

    fn request_mut(&mut self, number: u32) -> Option<&mut Request> {
        self.requests.get_mut(&number)
    }

    /// Notes what has happened.
    pub(crate) fn note(&mut self, now: Duration, fact: &Fact, issuer: Option<IssuerId>) {
        match fact {
            Fact::Crashed(_, tokens) => {
                self.crashes += 1;
                self.orphans += tokens;
                self.requests.values_mut().for_each(|request| request.credit += 1);
            }
            // What a process could not save in its time is lost as if it had crashed.
            Fact::Stopped(stopped) if stopped.unsaved > 0 => {
                self.requests.values_mut().for_each(|request| request.credit += 1);
            }
            Fact::Started(who) => self.held_off.retain(|(held, _), _| held != who),
            Fact::Served(served) => {
                self.signs += u32::from(served.signed.is_some());
                if let Some(request) = served.signed.and_then(|csr| self.request_mut(csr)) {
                    request.credit -= 1;
                }
                if let (Some((grant, host)), Some(issuer)) = (&served.granted, issuer) {
                    let token = Token {
                        issuer,
                        host: *host,
                        at: now,
                    };
                    self.tokens.insert(Arc::clone(&grant.token), token);
                }
                let renewed = served.renewed.as_deref().and_then(|token| self.tokens.get_mut(token));
                renewed.into_iter().for_each(|token| token.at = now);
            }
            Fact::Replied(reply) => self.replied(now, reply, issuer),
            Fact::Asks(asks) => {
                if let (Some(issuer), true) = (issuer, asks.operation != Operation::Health) {
                    self.asked
                        .iter_mut()
                        .zip(IssuerId::ALL)
                        .filter(|(_, id)| *id == issuer)
                        .for_each(|(n, _)| *n += 1);
                }
            }
            Fact::Wrote(wrote) => {
                if let Ok(after) = &wrote.after {
                    self.writes += 1;
                    let request = number(after.uid()).and_then(|number| self.request_mut(number));
                    request.into_iter().for_each(|request| request.writes += 1);
                }
            }
            _ => {}
        }
    }

    fn replied(&mut self, now: Duration, replied: &Replied, issuer: Option<IssuerId>) {
        if replied.lost {
            if replied.operation == Operation::Login {
                self.orphans += 1;
            }
            if let Some(request) = replied.csr.and_then(|csr| self.request_mut(csr)) {
                request.credit += 1;
            }
        }
        let revoked = replied.reply.as_ref().is_ok_and(|reply| reply.status().is_success());
        if replied.operation == Operation::Revoke && !revoked {
            self.orphans += 1;
        }
        let Ok(reply) = &replied.reply else {
            return;
        };
        let status = reply.status().as_u16();
        if let Some(request) = replied.csr.and_then(|csr| self.request_mut(csr)) {
            request.refused |= status == 400 || replied.wrong;
        }
        let Some(issuer) = issuer else {
            return;
        };
        if replied.operation == Operation::Probe && status == 400 {
            self.verified
                .insert((replied.who, issuer), (now, replied.url.as_str().into()));
        }
        let after = reply
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let (429, Some(seconds)) = (status, after) {
            let until = now + Duration::from_secs(seconds);
            self.held_off.insert((replied.who, issuer), (now, until));
        }
    }
}

/// Returns the number of a uid such as `uid-7`.
pub fn number(uid: &str) -> Option<u32> {
    uid.strip_prefix("uid-")?.parse().ok()
}
