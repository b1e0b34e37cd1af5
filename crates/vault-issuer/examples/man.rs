//! Writes a man page for each command into a folder: `cargo run --package vault-issuer --example man FOLDER`.

use std::env;
use std::fs;

use anyhow::Context;
use clap::CommandFactory;
use vault_issuer::args::Args;

fn main() -> anyhow::Result<()> {
    let folder = env::args_os().nth(1).context("give the folder for the man pages")?;
    fs::create_dir_all(&folder)?;
    Ok(clap_mangen::generate_to(Args::command(), folder)?)
}
