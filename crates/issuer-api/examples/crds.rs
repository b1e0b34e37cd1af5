//! Prints the CustomResourceDefinitions as YAML documents; `cargo xtask codegen` writes them to `deploy/`.

use std::error::Error;
use std::io::{Write, stdout};

use serde_saphyr::SerializerOptions;

fn main() -> Result<(), Box<dyn Error>> {
    for crd in issuer_api::crds()? {
        let mut options = SerializerOptions::default();
        options.prefer_block_scalars = false;
        let document = serde_saphyr::to_string_with_options(&crd, options)?;
        write!(stdout(), "---\n{document}")?;
    }
    Ok(())
}
