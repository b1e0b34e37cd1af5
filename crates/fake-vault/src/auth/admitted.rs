//! The result of checking credentials.

use std::collections::BTreeMap;

use crate::token::TokenParams;

/// The result of checking credentials.
pub(super) struct Admitted {
    pub(super) role: String,
    pub(super) params: TokenParams,
    /// The part of the token's display name after the mount; may be empty.
    pub(super) display_name: String,
    pub(super) meta: BTreeMap<String, String>,
}
