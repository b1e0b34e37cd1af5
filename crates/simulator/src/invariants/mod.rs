//! The checks of the promises.
//!
//! A check looks at an [`Observation`](crate::observation::Observation) and at the world in which it is made. It never asks
//! the production code whether that was right.

mod approval;
mod convergence;
mod secrecy;
mod signature;
mod status;
mod token;

use crate::promise::{self, Promise};
use crate::world::{Check, Place};

const fn check(promise: Promise, place: Place) -> Check {
    Check { promise, place }
}

/// The check of every promise.
pub static ALL: [Check; 35] = [
    check(promise::SIGNS_ONLY_APPROVED, Place::Step(approval::signs_only_approved)),
    check(promise::LEAVES_OTHERS_ALONE, Place::Step(approval::leaves_others_alone)),
    check(promise::CERTIFICATE_IS_FINAL, Place::Step(status::certificate_is_final)),
    check(promise::WRITES_ARE_GUARDED, Place::Step(status::writes_are_guarded)),
    check(promise::CERTIFICATE_OF_UID, Place::Step(signature::certificate_of_uid)),
    check(promise::KEY_OF_CSR, Place::Step(signature::key_of_csr)),
    check(
        promise::CONTENTS_AS_REQUESTED,
        Place::Step(signature::contents_as_requested),
    ),
    check(
        promise::CREDENTIALS_OF_ISSUER,
        Place::Step(secrecy::credentials_of_issuer),
    ),
    check(
        promise::SIGNATURES_ARE_BOUNDED,
        Place::Step(signature::signatures_are_bounded),
    ),
    check(promise::SECRETS_STAY_SECRET, Place::Step(secrecy::secrets_stay_secret)),
    check(promise::MESSAGES_ARE_CLEAN, Place::Step(status::messages_are_clean)),
    check(
        promise::CREDENTIALS_STAY_AT_ORIGIN,
        Place::Step(secrecy::credentials_stay_at_origin),
    ),
    check(
        promise::DENIED_IS_FINAL,
        Place::Both(status::failure_time_is_final, convergence::denied_is_finished),
    ),
    check(
        promise::FAILS_ONLY_IF_REFUSED,
        Place::Step(status::fails_only_if_refused),
    ),
    check(
        promise::CONDITIONS_ARE_WELL_FORMED,
        Place::Step(status::conditions_are_well_formed),
    ),
    check(promise::READY_MEANS_PROBED, Place::Step(status::ready_means_probed)),
    check(promise::REPLIES_ARE_BOUNDED, Place::Step(secrecy::replies_are_bounded)),
    check(
        promise::FINISHED_IS_FORGOTTEN,
        Place::Converged(convergence::finished_is_forgotten),
    ),
    check(promise::NO_EXPIRED_TOKEN, Place::Step(token::no_expired_token)),
    check(
        promise::ONE_TOKEN,
        Place::Both(token::one_token, convergence::one_token),
    ),
    check(
        promise::NO_PRIVATE_KEYS,
        Place::Elsewhere(
            "by type: the core reads Secrets only by the references of an issuer's spec; xtask codegen grants no others",
        ),
    ),
    check(
        promise::NO_PANIC,
        Place::Elsewhere(
            "by lint: unsafe_code is forbidden, panics are denied in the core; the fuzz targets look for the rest",
        ),
    ),
    check(promise::GOOD_TOKEN_IS_KEPT, Place::Step(token::good_token_is_kept)),
    check(promise::LEASED_TOKEN_IS_KEPT, Place::Step(token::leased_token_is_kept)),
    check(promise::USES_ARE_FOR_SIGNING, Place::Step(token::uses_are_for_signing)),
    check(promise::CONVERGES, Place::Explorer),
    check(promise::STAYS_QUIET, Place::Explorer),
    check(promise::OUTAGE_IS_CHEAP, Place::LongRun),
    check(
        promise::RETRY_AFTER_IS_HONOURED,
        Place::Step(token::retry_after_is_honoured),
    ),
    check(promise::RECOVERY_IS_NOTICED, Place::LongRun),
    check(promise::ISSUERS_ARE_ISOLATED, Place::LongRun),
    check(promise::FIX_IS_TRIED_AT_ONCE, Place::LongRun),
    check(promise::LEADERSHIP_ENDS_SIGNING, Place::LongRun),
    check(
        promise::STOP_SAVES_CERTIFICATES,
        Place::Step(signature::stop_saves_certificates),
    ),
    check(promise::POISON_IS_CONTAINED, Place::LongRun),
];

/// Returns the check of a promise alone, for [`Setup::checks`](crate::world::Setup::checks).
pub fn only(promise: Promise) -> &'static [Check] {
    let mut checks = ALL.chunks(1);
    checks
        .find(|check| check.iter().any(|check| check.promise == promise))
        .unwrap_or_default()
}
