//! The cost of an operation as a ratio to that of its reference.

use std::time::Duration;

use clap::ValueEnum;

/// The time that one sample should take: long beside the clock's resolution, and so short that a busy machine interrupts
/// few of them.
const SAMPLE: Duration = Duration::from_micros(500);

/// The least number of samples of each.
const SAMPLES: u32 = 100;

/// How long a budget that seems exceeded is measured: interruptions only ever add time, so the minimum falls with the
/// number of samples.
const PATIENCE: Duration = Duration::from_secs(10);

/// The unit of a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unit {
    /// Instructions.
    Instructions,
    /// Time.
    #[value(name = "time")]
    Seconds,
}

impl Unit {
    /// Returns an amount with its unit.
    pub(crate) fn show(self, amount: f64) -> String {
        match self {
            Self::Instructions => format!("{amount:.0} instr"),
            Self::Seconds => format!("{:.2} us", amount * 1e6),
        }
    }
}

/// The cost of one run of an operation, and of one run of its reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) operation: f64,
    pub(crate) reference: f64,
    pub(crate) unit: Unit,
}

impl Cost {
    pub(crate) fn ratio(self) -> f64 {
        self.operation / self.reference
    }

    /// Returns `true` if the ratio is within a budget.
    pub(crate) fn keeps(self, budget: f64) -> bool {
        self.ratio() <= budget
    }
}

/// Measures the shortest times of both, in turns, so that both see the same clock rate and the same neighbors.
///
/// Ends as soon as there are enough samples and the budget is kept, or after some seconds.
pub(crate) fn measure(
    clock: &dyn Fn() -> Duration,
    operation: &mut dyn FnMut(),
    reference: &mut dyn FnMut(),
    budget: f64,
) -> Cost {
    let begun = clock();
    let mut operation = Stopwatch::new(clock, operation);
    let mut reference = Stopwatch::new(clock, reference);
    let mut samples = 0;
    loop {
        reference.sample();
        operation.sample();
        samples += 1;
        let cost = Cost {
            operation: operation.best,
            reference: reference.best,
            unit: Unit::Seconds,
        };
        if samples >= SAMPLES && (cost.keeps(budget) || clock() - begun > PATIENCE) {
            return cost;
        }
    }
}

/// The shortest time of a piece of work, so far.
struct Stopwatch<'a> {
    clock: &'a dyn Fn() -> Duration,
    run: &'a mut dyn FnMut(),
    /// The number of runs in a sample.
    runs: u32,
    /// The seconds of one run, in the fastest sample.
    best: f64,
}

impl<'a> Stopwatch<'a> {
    fn new(clock: &'a dyn Fn() -> Duration, run: &'a mut dyn FnMut()) -> Self {
        let mut watch = Self {
            clock,
            run,
            runs: 1,
            best: f64::INFINITY,
        };
        // The first samples are short, and warm up caches and branch predictors.
        while watch.sample() < SAMPLE {
            watch.runs *= 2;
        }
        watch.best = f64::INFINITY;
        watch
    }

    /// Takes a sample; returns how long it took.
    fn sample(&mut self) -> Duration {
        let begun = (self.clock)();
        for _ in 0..self.runs {
            (self.run)();
        }
        let took = (self.clock)() - begun;
        self.best = self.best.min(took.as_secs_f64() / f64::from(self.runs));
        took
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use issuer_core::SplitMix64;

    use super::*;

    const REFERENCE: Duration = Duration::from_micros(50);

    /// Measures an operation that takes as long as `times` references, on a machine that interrupts one run in a hundred for
    /// some milliseconds.
    fn measured(times: u32, budget: f64) -> (Cost, Duration) {
        let time = Cell::new(Duration::ZERO);
        let noise = RefCell::new(SplitMix64::new(1));
        let work = |takes: Duration| {
            let (time, noise) = (&time, &noise);
            move || {
                let number = noise.borrow_mut().next_u64();
                let interrupted = Duration::from_millis(if number % 100 == 0 { number % 7 } else { 0 });
                time.set(time.get() + takes + interrupted);
            }
        };
        let cost = measure(
            &|| time.get(),
            &mut work(REFERENCE * times),
            &mut work(REFERENCE),
            budget,
        );
        (cost, time.get())
    }

    #[test]
    fn interruptions_leave_the_ratio() {
        let (cost, took) = measured(3, 3.1);
        assert!((cost.ratio() - 3.0).abs() < 1e-9, "{cost:?}");
        assert!(cost.keeps(3.1) && took < PATIENCE, "{took:?}");
    }

    #[test]
    fn slowed_operations_exceed_their_budget() {
        let (cost, took) = measured(2, 1.5);
        assert!(!cost.keeps(1.5), "{cost:?}");
        // It was given every chance.
        assert!(took > PATIENCE && took < PATIENCE * 2, "{took:?}");
    }

    #[test]
    fn long_operations_are_sampled_singly() {
        let (cost, _) = measured(1000, 1000.5);
        assert!(cost.keeps(1000.5), "{cost:?}");
    }

    #[test]
    fn amounts_have_units() {
        assert_eq!(Unit::Seconds.show(0.000_071_23), "71.23 us");
        assert_eq!(Unit::Instructions.show(123_456.4), "123456 instr");
    }
}
