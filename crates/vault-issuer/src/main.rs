//! The binary of vault-issuer.

use std::io::{stderr, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    vault_issuer::run(std::env::args_os(), &mut stdout(), &mut stderr())
}
