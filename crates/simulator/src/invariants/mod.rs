//! The checks of the promises.
//!
//! A check looks at an [`Observation`](crate::observation::Observation) and at the world in which it is made. It never asks
//! the production code whether that was right.

mod approval;
mod convergence;
mod drop_in;
mod refusal;
mod secrecy;
mod signature;
mod status;
mod token;

use crate::promise::{self, Promise};
use crate::world::{Invariant, Place};

const fn invariant(promise: Promise, place: Place) -> Invariant {
    Invariant { promise, place }
}

/// The check of every promise.
pub static ALL: [Invariant; 43] = [
    invariant(promise::SIGNS_ONLY_APPROVED, Place::Step(approval::signs_only_approved)),
    invariant(promise::LEAVES_OTHERS_ALONE, Place::Step(approval::leaves_others_alone)),
    invariant(promise::CERTIFICATE_IS_FINAL, Place::Step(status::certificate_is_final)),
    invariant(promise::WRITES_ARE_GUARDED, Place::Step(status::writes_are_guarded)),
    invariant(promise::CERTIFICATE_OF_UID, Place::Step(signature::certificate_of_uid)),
    invariant(promise::KEY_OF_CSR, Place::Step(signature::key_of_csr)),
    invariant(
        promise::CONTENTS_AS_REQUESTED,
        Place::Step(signature::contents_as_requested),
    ),
    invariant(
        promise::CREDENTIALS_OF_ISSUER,
        Place::Step(secrecy::credentials_of_issuer),
    ),
    invariant(
        promise::SIGNATURES_ARE_BOUNDED,
        Place::Step(signature::signatures_are_bounded),
    ),
    invariant(promise::SECRETS_STAY_SECRET, Place::Step(secrecy::secrets_stay_secret)),
    invariant(promise::MESSAGES_ARE_CLEAN, Place::Step(status::messages_are_clean)),
    invariant(
        promise::CREDENTIALS_STAY_AT_ORIGIN,
        Place::Step(secrecy::credentials_stay_at_origin),
    ),
    invariant(
        promise::DENIED_IS_FINAL,
        Place::Both(status::failure_time_is_final, convergence::denied_is_finished),
    ),
    invariant(
        promise::FAILS_ONLY_IF_REFUSED,
        Place::Step(status::fails_only_if_refused),
    ),
    invariant(
        promise::CONDITIONS_ARE_WELL_FORMED,
        Place::Step(status::conditions_are_well_formed),
    ),
    invariant(promise::READY_MEANS_PROBED, Place::Step(status::ready_means_probed)),
    invariant(promise::REPLIES_ARE_BOUNDED, Place::Step(secrecy::replies_are_bounded)),
    invariant(
        promise::FINISHED_IS_FORGOTTEN,
        Place::Converged(convergence::finished_is_forgotten),
    ),
    invariant(promise::NO_EXPIRED_TOKEN, Place::Step(token::no_expired_token)),
    invariant(
        promise::ONE_TOKEN,
        Place::Both(token::one_token_at_login, convergence::no_token_left_behind),
    ),
    invariant(
        promise::NO_PRIVATE_KEYS,
        Place::Elsewhere(
            "by type: the core reads Secrets only by the references of an issuer's spec; xtask codegen grants no others",
        ),
    ),
    invariant(
        promise::NO_PANIC,
        Place::Elsewhere(
            "by lint: unsafe_code is forbidden, panics are denied in the core; the fuzz targets look for the rest",
        ),
    ),
    invariant(promise::GOOD_TOKEN_IS_KEPT, Place::Step(token::good_token_is_kept)),
    invariant(promise::LEASED_TOKEN_IS_KEPT, Place::Step(token::leased_token_is_kept)),
    invariant(promise::USES_ARE_FOR_SIGNING, Place::Step(token::uses_are_for_signing)),
    invariant(
        promise::NEVER_BESIDE_BUILT_IN,
        Place::Step(drop_in::never_beside_built_in),
    ),
    invariant(
        promise::READY_OF_OTHERS_IS_LEFT,
        Place::Step(drop_in::ready_of_others_is_left),
    ),
    invariant(
        promise::REQUESTER_MAY_REFERENCE,
        Place::Step(approval::requester_may_reference),
    ),
    invariant(
        promise::NAMESPACE_IS_SELECTED,
        Place::Step(approval::namespace_is_selected),
    ),
    invariant(promise::UNWRAPPED_ONCE, Place::Step(secrecy::unwrapped_once)),
    invariant(
        promise::FORGERS_STOP_NO_KIND,
        Place::Step(drop_in::forgers_stop_no_kind),
    ),
    invariant(
        promise::REFUSAL_STAYS_ITS_OWN,
        Place::Step(refusal::refusal_stays_its_own),
    ),
    invariant(promise::CONVERGES, Place::Explorer),
    invariant(promise::STAYS_QUIET, Place::Explorer),
    invariant(promise::OUTAGE_IS_CHEAP, Place::LongRun),
    invariant(
        promise::RETRY_AFTER_IS_HONORED,
        Place::Step(token::retry_after_is_honored),
    ),
    invariant(promise::RECOVERY_IS_NOTICED, Place::LongRun),
    invariant(promise::ISSUERS_ARE_ISOLATED, Place::LongRun),
    invariant(promise::FIX_IS_TRIED_AT_ONCE, Place::LongRun),
    invariant(promise::LEADERSHIP_ENDS_SIGNING, Place::LongRun),
    invariant(
        promise::STOP_SAVES_CERTIFICATES,
        Place::Step(signature::stop_saves_certificates),
    ),
    invariant(promise::POISON_IS_CONTAINED, Place::LongRun),
    invariant(promise::ENDPOINT_FAILS_NO_REQUEST, Place::LongRun),
];

/// Returns the check of a promise alone, for [`Setup::invariants`](crate::world::Setup::invariants).
pub fn only(promise: Promise) -> &'static [Invariant] {
    let mut invariants = ALL.chunks(1);
    invariants
        .find(|one| one.iter().any(|invariant| invariant.promise == promise))
        .unwrap_or_default()
}
