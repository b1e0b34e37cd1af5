//! The promises of the controller, by number and name.
//!
//! S promises are about what must never happen, L promises about what must happen in time. `invariants` checks them.

use std::fmt;

/// A promise of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Promise {
    /// Its number, such as `S1`.
    pub number: &'static str,
    /// Its statement.
    pub statement: &'static str,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The promise.
    pub promise: Promise,
    /// A description of the violation.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Promise { number, statement } = self.promise;
        write!(f, "{number}: {}\n  promised: {statement}", self.what)
    }
}

impl Promise {
    /// Returns a violation of the promise.
    pub(crate) fn broken(self, what: impl Into<String>) -> Violation {
        Violation {
            promise: self,
            what: what.into(),
        }
    }
}

macro_rules! promises {
    ($($number:ident $name:ident: $statement:literal)*) => {
        $(
            #[doc = concat!(stringify!($number), ": ", $statement, ".")]
            pub const $name: Promise = Promise {
                number: stringify!($number),
                statement: $statement,
            };
        )*
    };
}

promises! {
    S1 SIGNS_ONLY_APPROVED: "only what is Approved and not Denied in the newest view is signed"
    S2 LEAVES_OTHERS_ALONE: "requests of other issuers are not touched, finished ones are not signed"
    S3 CERTIFICATE_IS_FINAL: "a certificate, once written, never changes"
    S4 WRITES_ARE_GUARDED: "every status carries uid and resourceVersion, and a terminal one is never overwritten"
    S5 CERTIFICATE_OF_UID: "a certificate is only written to the uid that it was signed for"
    S6 KEY_OF_CSR: "a written certificate has the key of the CSR, and a CSR without a valid signature is never sent"
    S7 CONTENTS_AS_REQUESTED: "a written certificate has the requested names, CA flag and lifetime"
    S8 CREDENTIALS_OF_ISSUER: "an issuer only uses its own Secrets and tokens"
    S9 SIGNATURES_ARE_BOUNDED: "signatures per uid: at most 1 + crashes + lost replies + concurrent processes"
    S10 SECRETS_STAY_SECRET: "no secret appears in an event or a status"
    S11 MESSAGES_ARE_CLEAN: "reasons are of a fixed set, messages are short and printable"
    S12 CREDENTIALS_STAY_AT_ORIGIN: "credentials go only to the server of the issuer, over https"
    S13 DENIED_IS_FINAL: "a denied request ends as Denied, with a failureTime that is set once"
    S14 FAILS_ONLY_IF_REFUSED: "a request fails only after a definite refusal"
    S15 CONDITIONS_ARE_WELL_FORMED: "conditions have the right generation and transition time, approvals are left alone"
    S16 READY_MEANS_PROBED: "an issuer is Ready only after its current endpoint has answered a probe or signed"
    S17 REPLIES_ARE_BOUNDED: "replies are read up to 256 KiB"
    S18 FINISHED_IS_FORGOTTEN: "nothing is kept of requests that are finished or gone"
    S19 NO_EXPIRED_TOKEN: "no token is used after its expiry"
    S20 ONE_TOKEN: "one token per issuer and process, and none is left behind"
    S21 NO_PRIVATE_KEYS: "private keys of requests are never handled"
    S22 NO_PANIC: "no panic, no unsafe code"
    S23 GOOD_TOKEN_IS_KEPT: "a live token is revoked only if it is replaced, its issuer changes or is given up, or its process stops"
    S24 LEASED_TOKEN_IS_KEPT: "a token whose replies carried a lease is never revoked, which would revoke the certificates"
    S25 USES_ARE_FOR_SIGNING: "limited uses of a token are not spent on checks"
    S26 NEVER_BESIDE_BUILT_IN: "nothing is signed for cert-manager's issuers once another controller is seen to sign for them"
    S27 READY_OF_OTHERS_IS_LEFT: "the condition Ready of cert-manager's issuers that another controller writes is left to it"
    S28 REQUESTER_MAY_REFERENCE: "a Kubernetes CSR is signed only if its requester may reference the issuer"
    S29 NAMESPACE_IS_SELECTED: "a cluster issuer with a selector signs a request only in an attempt that has read labels of its namespace which it selects"
    S30 UNWRAPPED_ONCE: "a wrapping token is looked up before it is used, used once, and its secret ID kept: no process asks for one that it has"
    S31 FORGERS_STOP_NO_KIND: "a kind of cert-manager's issuers is given up only if another controller has answered a request, even if managed fields say so"
    S32 REFUSAL_STAYS_ITS_OWN: "a status that admission refuses costs no other signature and delays no other object, the next check of an issuer by at most 15 s, and the refusal is told: by an event or a final status, or by an attempt that ends as unsaved"
    L1 CONVERGES: "every request is finished in bounded time after the last fault"
    L2 STAYS_QUIET: "after convergence only the periodic checks remain, for 24 hours"
    L3 OUTAGE_IS_CHEAP: "an outage costs at most 20 requests to Vault per issuer and 3 writes per request in its first hour"
    L4 RETRY_AFTER_IS_HONORED: "Retry-After is honored"
    L5 RECOVERY_IS_NOTICED: "the end of an outage is noticed within 15 s"
    L6 ISSUERS_ARE_ISOLATED: "an outage of one issuer delays no other"
    L7 FIX_IS_TRIED_AT_ONCE: "a corrected issuer is tried at once"
    L8 LEADERSHIP_ENDS_SIGNING: "nothing is signed after leadership ends"
    L9 STOP_SAVES_CERTIFICATES: "a process that stops saves what it has signed"
    L10 POISON_IS_CONTAINED: "a good request is issued within one slot's time plus its own, beside any number that cannot be signed"
    L11 ENDPOINT_FAILS_NO_REQUEST: "an endpoint that signs nothing, though its checks succeed, fails no request and is tried every 15 s"
}
