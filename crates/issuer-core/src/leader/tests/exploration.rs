//! Two electors, one lease, and every order of polls, effects and answers, each request or reply lost or delayed for
//! any time, to the last reachable state. Times and versions count only relative to each other, so the states are
//! finite.

use super::*;

/// A request in flight: the question, then its result.
#[derive(Clone, Debug)]
enum Flight {
    Ask(Step),
    Answer(Step, Result<Option<Lease>, LeaseWriteError>),
}

#[derive(Clone, Debug)]
struct World {
    time: u64,
    server: Server,
    electors: [Elector; 2],
    flights: [Option<Flight>; 2],
}

impl World {
    fn new() -> Self {
        let seconds = Duration::from_secs;
        let timing = Timing::new(seconds(3), seconds(2), seconds(1)).unwrap();
        Self {
            time: 10,
            server: Server::default(),
            electors: ["a", "b"].map(|id| Elector::new(id.to_owned(), timing, 1)),
            flights: [None, None],
        }
    }

    fn leads(&self, who: usize) -> bool {
        self.electors[who].is_leader(at(self.time))
    }

    fn holder(&self) -> &str {
        self.server.lease.as_ref().and_then(holder).unwrap_or_default()
    }

    /// Returns every world that may follow.
    fn next(&self) -> Vec<Self> {
        let mut next = vec![Self {
            time: self.time + 1,
            ..self.clone()
        }];
        for who in 0..2 {
            let mut world = self.clone();
            match world.flights[who].take() {
                None => {
                    // The two are alike: it is enough that one may stop.
                    if who == 0 {
                        let mut released = self.clone();
                        released.electors[who].release();
                        next.push(released);
                    }
                    let step = world.electors[who].poll(at(self.time));
                    if !matches!(step, Step::Wait(_) | Step::Released) {
                        world.flights[who] = Some(Flight::Ask(step));
                        next.push(world);
                    }
                }
                Some(Flight::Ask(step)) => {
                    next.push(world.clone().answered(who, &step, Err(LeaseWriteError::Unanswered)));
                    let result = world.apply(&step);
                    world.flights[who] = Some(Flight::Answer(step, result));
                    next.push(world);
                }
                Some(Flight::Answer(step, result)) => {
                    next.push(world.clone().answered(who, &step, Err(LeaseWriteError::Unanswered)));
                    next.push(world.answered(who, &step, result));
                }
            }
        }
        // A poll may come at any time after it is due, so one length of pause stands for all.
        next.iter_mut()
            .flat_map(|world| &mut world.electors)
            .for_each(|elector| elector.random = SplitMix64::new(1));
        next
    }

    fn apply(&mut self, step: &Step) -> Result<Option<Lease>, LeaseWriteError> {
        match step.clone() {
            Step::Create(lease, _) => self.server.create(lease).map(Some),
            Step::Update(lease, _) => self.server.update(lease).map(Some),
            _ => Ok(self.server.lease.clone()),
        }
    }

    fn answered(mut self, who: usize, step: &Step, result: Result<Option<Lease>, LeaseWriteError>) -> Self {
        let (elector, now) = (&mut self.electors[who], at(self.time));
        match step.clone() {
            Step::Read(read) => read.resume(elector, now, result.map_err(|_| ReadFailed)),
            Step::Create(_, write) | Step::Update(_, write) => {
                write.resume(elector, now, result.map(Option::unwrap));
            }
            Step::Wait(_) | Step::Released => unreachable!(),
        }
        self
    }

    fn key(&self) -> Vec<u64> {
        let mut key = Key {
            time: self.time,
            parts: Vec::new(),
            versions: Vec::new(),
        };
        key.lease(self.server.lease.as_ref());
        for who in 0..2 {
            key.elector(&self.electors[who]);
            key.flight(self.flights[who].as_ref());
        }
        key.parts
    }
}

/// The part of a world that decides its future: ages up to the longest that counts, and which versions are equal.
struct Key {
    time: u64,
    parts: Vec<u64>,
    versions: Vec<Option<String>>,
}

impl Key {
    fn elector(&mut self, elector: &Elector) {
        self.parts.extend([elector.plan as u64, elector.releasing.into()]);
        for until in [elector.due, elector.held_until] {
            let left = until.saturating_sub(Duration::from_secs(self.time));
            self.parts.push(left.as_millis().try_into().unwrap());
        }
        if let Some((lease, since)) = &elector.seen {
            self.lease(Some(lease));
            self.age(*since);
        } else {
            self.lease(None);
        }
    }

    fn flight(&mut self, flight: Option<&Flight>) {
        let (step, answer) = match flight {
            None => return self.parts.push(0),
            Some(Flight::Ask(step)) => (step, None),
            Some(Flight::Answer(step, result)) => (step, Some(result)),
        };
        match step {
            Step::Create(lease, write) | Step::Update(lease, write) => {
                self.lease(Some(lease));
                self.parts.push(write.plan as u64);
                self.age(write.sent);
            }
            Step::Read(_) | Step::Wait(_) | Step::Released => self.parts.push(1),
        }
        match answer {
            None => self.parts.push(2),
            Some(Err(error)) => self.parts.push(3 + *error as u64),
            Some(Ok(lease)) => self.lease(lease.as_ref()),
        }
    }

    fn lease(&mut self, lease: Option<&Lease>) {
        let Some(lease) = lease else {
            return self.parts.push(9);
        };
        let version = &lease.metadata.resource_version;
        let known = self.versions.iter().position(|v| v == version);
        let number = known.unwrap_or(self.versions.len());
        if known.is_none() {
            self.versions.push(version.clone());
        }
        let holder = holder(lease).map_or(10, |id| if id == "a" { 11 } else { 12 });
        self.parts
            .extend([holder, duration(lease).as_secs(), number.try_into().unwrap()]);
    }

    fn age(&mut self, since: Duration) {
        self.parts.push((self.time - since.as_secs()).min(4));
    }
}

#[test]
fn at_most_one_leads() {
    let mut seen = HashSet::new();
    let mut open = vec![World::new()];
    let mut changes = HashSet::new();
    while let Some(world) = open.pop() {
        if !seen.insert(world.key()) {
            continue;
        }
        assert!(!(world.leads(0) && world.leads(1)), "both lead: {world:#?}");
        for next in world.next() {
            changes.insert([&world, &next].map(|w| w.holder().to_owned()));
            open.push(next);
        }
    }
    for change in [["a", "b"], ["b", "a"], ["a", ""], ["", "b"]] {
        assert!(
            changes.contains(&change.map(str::to_owned)),
            "{change:?} of {} states",
            seen.len()
        );
    }
}
