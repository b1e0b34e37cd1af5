//! vault-issuer
fn main() {}
