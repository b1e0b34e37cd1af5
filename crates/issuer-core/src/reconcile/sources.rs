//! The Secrets and ConfigMaps that issuers take data from, and the watches that show their changes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::backoff::{Jitter, backoff};
use super::tally::Tally;
use crate::Now;
use crate::access::ReadError;
use crate::reference::{IssuerKey, SourceRef};

/// The number of objects that are watched at once: each takes a connection to the API server. What is not watched is
/// read at every tenth check.
const WATCHES: usize = 1000;

/// The number of further watches, for objects of namespaces with fewer than [`OWN`]: the crowd of one must not take all.
const RESERVE: usize = 250;

/// The number of watches of a namespace up to which it may take a part of the reserve.
const OWN: usize = 16;

/// How long after its first use an object is watched, about: a start with a thousand issuers opens no thousand watches
/// at once.
const SPREAD: Duration = Duration::from_secs(20);

/// The wait after a refusal: the role of the controller lacks the verb, which seldom changes.
const REFUSED: Duration = Duration::from_secs(2 * 60 * 60);

/// The longest wait after other failures.
const FAILED: Duration = Duration::from_secs(300);

/// A watch that ends sooner than this counts as failed.
const LASTED: Duration = Duration::from_secs(60);

/// An event of the watch of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// The watch is open. If the object exists, its version follows, and then each new one.
    Opened,
    /// The object has this `metadata.resourceVersion`.
    Version(String),
    /// A bookmark: the object has not changed.
    Bookmark,
    /// The watch has ended, as every watch does after some time.
    Ended,
}

/// Every object that an issuer takes data from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sources {
    by_ref: BTreeMap<SourceRef, Source>,
    by_issuer: BTreeMap<IssuerKey, Vec<SourceRef>>,
    /// The objects to be watched, each from this time on.
    due: WatchQueue,
    /// The number of objects that are watched, by namespace.
    watches: Tally<String>,
    jitter: Jitter,
}

#[derive(Clone, Debug, PartialEq)]
struct Source {
    users: BTreeSet<IssuerKey>,
    watch: Watch,
    /// Failed watches in a row.
    failures: u32,
    /// The version that a watch has shown last.
    version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// To be opened at this time.
    Due(Duration),
    /// It is being opened.
    Opening,
    /// It has been open since this time.
    Open(Duration),
}

/// The next action for a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It ends.
    Close,
    /// It goes on, or is opened anew if it has ended.
    Continue,
    /// It goes on, and the object has changed.
    Changed,
}

impl Hash for Sources {
    /// Hashes what the watches show, and not when they are due: nothing else depends on that.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (source, known) in &self.by_ref {
            (source, &known.users, self.version(source)).hash(state);
        }
    }
}

impl Sources {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            by_ref: BTreeMap::new(),
            by_issuer: BTreeMap::new(),
            due: WatchQueue::default(),
            watches: Tally::default(),
            jitter: Jitter::new(seed),
        }
    }

    /// Records what an issuer takes data from.
    pub(super) fn assign(&mut self, issuer: &IssuerKey, sources: Vec<SourceRef>, now: Now) {
        if self
            .by_issuer
            .get(issuer)
            .map_or(sources.is_empty(), |known| *known == sources)
        {
            return;
        }
        let before = self.by_issuer.remove(issuer).unwrap_or_default();
        for source in before.iter().filter(|source| !sources.contains(source)) {
            self.leave(issuer, source);
        }
        for source in &sources {
            let known = self.by_ref.entry(source.clone()).or_insert_with(|| {
                let at = now.monotonic + self.jitter.within(SPREAD);
                self.due.insert(at, source.clone());
                Source::new(at)
            });
            known.users.insert(issuer.clone());
        }
        if !sources.is_empty() {
            self.by_issuer.insert(issuer.clone(), sources);
        }
    }

    /// Forgets an issuer.
    pub(super) fn forget(&mut self, issuer: &IssuerKey) {
        for source in self.by_issuer.remove(issuer).unwrap_or_default() {
            self.leave(issuer, &source);
        }
    }

    fn leave(&mut self, issuer: &IssuerKey, source: &SourceRef) {
        let Some(known) = self.by_ref.get_mut(source) else {
            return;
        };
        known.users.remove(issuer);
        // A watch that is under way is closed at its next event, and counted until then.
        if let Watch::Due(at) = known.watch
            && known.users.is_empty()
        {
            self.due.remove(at, source);
            self.by_ref.remove(source);
        }
    }

    /// Takes the next object that is to be watched, if there is room for a watch.
    pub(super) fn begin(&mut self, now: Now) -> Option<SourceRef> {
        let (at, source) = self.first().filter(|(at, _)| *at <= now.monotonic)?;
        let source = source.clone();
        self.due.remove(at, &source);
        self.by_ref.get_mut(&source)?.watch = Watch::Opening;
        self.watches.add(source.namespace().to_owned(), 1);
        Some(source)
    }

    /// Returns when there will be an object to watch.
    pub(super) fn next(&self) -> Option<Duration> {
        self.first().map(|(at, _)| at)
    }

    /// Returns the next object for whose watch there is room.
    fn first(&self) -> Option<(Duration, &SourceRef)> {
        let has_few = |namespace: &str| self.watches.get(namespace) < OWN;
        let all = self.watches.all();
        // Few namespaces are passed over: each of them has several of the watches.
        self.due
            .firsts()
            .find(|(_, source)| all < WATCHES || (all < WATCHES + RESERVE && has_few(source.namespace())))
    }

    /// Returns the version of an object that is watched.
    pub(super) fn version(&self, source: &SourceRef) -> Option<&str> {
        let known = self.by_ref.get(source)?;
        // While no watch is open, the object may have changed unseen.
        let is_open = matches!(known.watch, Watch::Open(_));
        known.version.as_deref().filter(|_| is_open)
    }

    /// Returns the issuers that take data from an object.
    pub(super) fn users(&self, source: &SourceRef) -> Vec<IssuerKey> {
        let known = self.by_ref.get(source);
        known.map_or_else(Vec::new, |known| known.users.iter().cloned().collect())
    }

    /// Records what a watch shows, or why it failed.
    pub(super) fn note(&mut self, source: &SourceRef, now: Now, answer: Result<SourceEvent, ReadError>) -> Next {
        let Some(known) = self.by_ref.get_mut(source) else {
            return Next::Close;
        };
        if known.users.is_empty() {
            self.by_ref.remove(source);
            self.watches.subtract(source.namespace(), 1);
            return Next::Close;
        }
        let lasted = matches!(known.watch, Watch::Open(since) if now.monotonic >= since + LASTED);
        if lasted {
            known.failures = 0;
        }
        let error = match answer {
            Ok(SourceEvent::Opened) => {
                // Failures are counted until it has lasted: a proxy may accept each watch and cut it at once.
                known.watch = Watch::Open(now.monotonic);
                return Next::Continue;
            }
            Ok(SourceEvent::Version(version)) => {
                let is_new = known.version.as_ref() != Some(&version);
                known.version = Some(version);
                return if is_new { Next::Changed } else { Next::Continue };
            }
            Ok(SourceEvent::Bookmark) => return Next::Continue,
            Ok(SourceEvent::Ended) if lasted => {
                known.watch = Watch::Opening;
                return Next::Continue;
            }
            Ok(SourceEvent::Ended) => ReadError::Unavailable,
            Err(error) => error,
        };
        known.failures = known.failures.saturating_add(1);
        let wait = match error {
            ReadError::Forbidden => REFUSED,
            _ => backoff(known.failures, Duration::from_secs(1), FAILED),
        };
        let at = now.monotonic + self.jitter.over(wait);
        known.watch = Watch::Due(at);
        self.due.insert(at, source.clone());
        self.watches.subtract(source.namespace(), 1);
        Next::Close
    }
}

/// The objects that are to be watched, by namespace and then by time.
#[derive(Clone, Debug, Default, PartialEq)]
struct WatchQueue {
    by_namespace: BTreeMap<String, BTreeSet<(Duration, SourceRef)>>,
    /// The first of each namespace.
    firsts: BTreeSet<(Duration, SourceRef)>,
}

impl WatchQueue {
    fn insert(&mut self, at: Duration, source: SourceRef) {
        self.change(source.namespace().to_owned(), |due| {
            due.insert((at, source));
        });
    }

    fn remove(&mut self, at: Duration, source: &SourceRef) {
        self.change(source.namespace().to_owned(), |due| {
            due.remove(&(at, source.clone()));
        });
    }

    fn change(&mut self, namespace: String, change: impl FnOnce(&mut BTreeSet<(Duration, SourceRef)>)) {
        let mut due = self.by_namespace.remove(&namespace).unwrap_or_default();
        if let Some(first) = due.first() {
            self.firsts.remove(first);
        }
        change(&mut due);
        if let Some(first) = due.first() {
            self.firsts.insert(first.clone());
            self.by_namespace.insert(namespace, due);
        }
    }

    /// Returns the first object of each namespace, the earliest first.
    fn firsts(&self) -> impl Iterator<Item = (Duration, &SourceRef)> {
        self.firsts.iter().map(|(at, source)| (*at, source))
    }
}

impl Source {
    fn new(at: Duration) -> Self {
        Self {
            users: BTreeSet::new(),
            watch: Watch::Due(at),
            failures: 0,
            version: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::at;
    use crate::reference::{IssuerKind, SecretRef};

    fn after(now: Now, wait: Duration) -> Now {
        Now {
            monotonic: now.monotonic + wait,
            ..now
        }
    }

    fn issuer(number: usize) -> IssuerKey {
        IssuerKey {
            kind: IssuerKind::Namespaced,
            namespace: "team".into(),
            name: format!("vault-{number}").into(),
        }
    }

    fn secret(name: String) -> SourceRef {
        let namespace = "team".to_owned();
        SourceRef::Secret(SecretRef { namespace, name })
    }

    #[test]
    fn number_of_watches_is_bounded() {
        let mut sources = Sources::new(1);
        for number in 0..WATCHES + 2 {
            let used = vec![secret(format!("secret-{number}"))];
            sources.assign(&issuer(number), used, at(0));
        }
        assert_eq!(sources.begin(at(9)), None);
        let begun: Vec<_> = std::iter::from_fn(|| sources.begin(at(20))).collect();
        assert_eq!((begun.len(), sources.next()), (WATCHES, None));
        // A refused one makes room for another, and is tried again behind it.
        assert_eq!(sources.note(&begun[0], at(20), Err(ReadError::Forbidden)), Next::Close);
        assert!(sources.begin(at(20)).is_some_and(|next| !begun.contains(&next)));
    }

    #[test]
    fn crowd_of_a_namespace_leaves_watches_to_others() {
        let mut sources = Sources::new(1);
        for number in 0..2 * WATCHES {
            let used = vec![secret(format!("secret-{number}"))];
            sources.assign(&issuer(number), used, at(0));
        }
        let crowd = std::iter::from_fn(|| sources.begin(at(20))).count();
        assert_eq!((crowd, sources.next()), (WATCHES, None));

        // Each other namespace has some, though what the crowd wants is due before.
        let mut others = 0;
        for namespace in 0..2 * RESERVE / OWN {
            for number in 0..OWN + 1 {
                let key = IssuerKey {
                    namespace: format!("other-{namespace}").into(),
                    ..issuer(number)
                };
                let used = SourceRef::Secret(SecretRef {
                    namespace: key.namespace.to_string(),
                    name: key.name.to_string(),
                });
                sources.assign(&key, vec![used], at(20));
            }
            let begun: Vec<_> = std::iter::from_fn(|| sources.begin(at(40))).collect();
            assert!(
                begun
                    .iter()
                    .all(|source| source.namespace() == format!("other-{namespace}"))
            );
            assert_eq!(begun.len(), OWN.min(RESERVE - others));
            others += begun.len();
        }
        assert_eq!((others, sources.watches.all()), (RESERVE, WATCHES + RESERVE));
    }

    #[test]
    fn watch_ends_with_its_last_issuer() {
        let mut sources = Sources::new(1);
        let shared = secret("shared".to_owned());
        for number in 0..2 {
            sources.assign(&issuer(number), vec![shared.clone()], at(0));
        }
        assert_eq!(sources.begin(at(20)), Some(shared.clone()));
        let event = |sources: &mut Sources, event| sources.note(&shared, at(20), Ok(event));
        assert_eq!(event(&mut sources, SourceEvent::Opened), Next::Continue);
        sources.forget(&issuer(0));
        assert_eq!(event(&mut sources, SourceEvent::Bookmark), Next::Continue);
        sources.assign(&issuer(1), Vec::new(), at(20));
        assert_eq!(event(&mut sources, SourceEvent::Bookmark), Next::Close);
        assert_eq!(
            (sources.by_ref.len(), sources.by_issuer.len(), sources.watches.all()),
            (0, 0, 0)
        );
        assert_eq!(sources.watches, Tally::default());

        // One that has not begun needs no end.
        sources.assign(&issuer(0), vec![shared], at(20));
        sources.forget(&issuer(0));
        assert_eq!((sources.by_ref.len(), sources.next()), (0, None));
    }

    #[test]
    fn failed_watches_are_repeated_ever_more_rarely() {
        let mut sources = Sources::new(1);
        let source = secret("token".to_owned());
        sources.assign(&issuer(0), vec![source.clone()], at(0));
        let mut now = at(20);
        for (answer, lasts, seconds) in [
            (Err(ReadError::Unavailable), 1, 1),
            (Ok(SourceEvent::Ended), 1, 2),
            (Err(ReadError::NotFound), 1, 4),
            (Err(ReadError::Unavailable), 60, 1),
            (Ok(SourceEvent::Ended), 59, 2),
            (Err(ReadError::Forbidden), 1, 7200),
        ] {
            assert_eq!(sources.begin(now), Some(source.clone()));
            assert_eq!(sources.note(&source, now, Ok(SourceEvent::Opened)), Next::Continue);
            now = after(now, Duration::from_secs(lasts));
            assert_eq!(sources.note(&source, now, answer.clone()), Next::Close);
            let wait = sources.next().unwrap() - now.monotonic;
            let least = Duration::from_secs(seconds);
            assert!((least..=least * 11 / 10).contains(&wait), "{answer:?}: {wait:?}");
            now = after(now, wait);
        }
        sources.begin(now).unwrap();
        sources.note(&source, now, Ok(SourceEvent::Opened));
        now = after(now, Duration::from_secs(3600));
        assert_eq!(sources.note(&source, now, Ok(SourceEvent::Ended)), Next::Continue);
        assert_eq!(sources.version(&source), None);
    }
}
