//! Something that can be run again and again.

/// Runs it once.
pub(crate) type Run = Box<dyn FnMut()>;

/// A piece of work, and everything it needs.
pub(crate) struct Work {
    /// The name.
    pub(crate) name: &'static str,
    /// Makes the inputs, which are not measured.
    pub(crate) prepare: fn() -> Run,
}

impl Work {
    /// Returns the work, done `times` times where it counts as one.
    pub(crate) fn slowed(&self, times: u32) -> Run {
        let mut run = (self.prepare)();
        Box::new(move || (0..times).for_each(|_| run()))
    }
}
