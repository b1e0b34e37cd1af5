//! Requests that meet a fault.

use http::Request;
use issuer_core::{Body, Now};

use super::FakeVault;
use crate::call::Call;
use crate::fault::{Fault, Handled};

impl FakeVault {
    /// Answers a request as [`handle`](Self::handle) does, or with the next fault that [`Faults`](crate::Faults) has
    /// for it.
    pub fn exchange(&mut self, now: Now, request: Request<Body>) -> Handled {
        if self.faults.is_empty() {
            return Handled::Reply(self.answer(now, &request, None));
        }
        let call = Call::parse(&request).ok();
        match self.faults.draw(call.as_ref()) {
            Some(fault) => self.misbehave(fault, now, &request),
            None => Handled::Reply(self.answer(now, &request, None)),
        }
    }

    fn misbehave(&mut self, fault: Fault, now: Now, request: &Request<Body>) -> Handled {
        if !fault.is_handled() {
            // The request is only counted: nothing is done for it, not even where it cannot be parsed.
            drop(self.receive(request));
            return fault.reply_instead(now, request);
        }
        let response = self.answer(now, request, fault.defect());
        fault.spoil(response)
    }
}
