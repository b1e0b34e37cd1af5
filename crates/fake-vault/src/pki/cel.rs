//! OpenBao's CEL roles: <https://openbao.org/api-docs/secret/pki/#sign-certificate-with-cel>.

use crate::answer::Refusal;
use crate::fields::Fields;
use crate::glob::glob;

/// A role of the endpoint `cel/sign/:role`, with a program that checks the parameter `common_name` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CelRole {
    /// The glob that the common name must match.
    pub common_name: String,
    /// The message of a denial; `request denied` if empty.
    pub message: String,
}

impl CelRole {
    /// Runs the program.
    pub(super) fn check(&self, fields: &Fields) -> Result<(), Refusal> {
        if fields.get("common_name").is_none() {
            return Err(Refusal::bad_request(
                "error evaluating mainProgram: no such key: common_name",
            ));
        }
        if glob(&self.common_name, &fields.text("common_name")) {
            return Ok(());
        }
        Err(Refusal::bad_request(match self.message.as_str() {
            "" => "request denied",
            message => message,
        }))
    }
}
