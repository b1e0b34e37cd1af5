//! Builds the controller's image, without a container engine and without a base image.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

mod compile;
mod controller;
mod packages;
mod sbom;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;
use image::{Image, write_layout};

use compile::Architecture;

/// The most bytes of the image's files.
const UNPACKED: u64 = 15_500_000;

/// The most bytes of the image's files, compressed.
const COMPRESSED: u64 = 8_000_000;

/// Builds the image: an OCI layout, a Docker archive for each platform, a bill of materials and a list of licenses
#[derive(Parser)]
#[command(bin_name = "cargo xtask image")]
struct Args {
    /// An architecture, by default that of this machine; may be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    arch: Vec<Architecture>,
    /// The folder to write to
    #[arg(long, value_name = "DIR", default_value = "target/image")]
    output: PathBuf,
    /// The image's name, without its tag
    #[arg(long, value_name = "NAME", default_value = "ghcr.io/vault-issuer/vault-issuer")]
    name: String,
    /// The commit, for the image's label
    #[arg(long, default_value = "")]
    revision: String,
    /// Writes the image's files into this folder, and no image, as deploy/Dockerfile does
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = env::set_current_dir(xtask::root())
        .map_err(Into::into)
        .and_then(|()| args.run());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    fn run(self) -> anyhow::Result<()> {
        let mut architectures = self.arch;
        if architectures.is_empty() {
            architectures.push(Architecture::of_this_machine()?);
        }
        architectures.dedup();
        let mut images = Vec::new();
        for architecture in architectures {
            let layer = controller::files(&compile::controller(architecture)?);
            if let Some(root) = &self.files {
                return layer.unpack(root);
            }
            images.push(controller::image(&self.name, &self.revision, architecture, layer));
        }
        // A layout is written anew: blobs of another build do not belong to it.
        if self.output.exists() {
            fs::remove_dir_all(&self.output)?;
        }
        fs::create_dir_all(&self.output)?;
        write(&images, &self.output)?;
        let packages = packages::of_controller()?;
        let sbom = serde_json::to_string_pretty(&sbom::cyclone_dx(&packages)?)?;
        fs::write(self.output.join("sbom.cdx.json"), sbom + "\n")?;
        fs::write(self.output.join("licenses.txt"), sbom::licenses(&packages))?;
        println!("in {}", self.output.display());
        Ok(())
    }
}

/// Writes layout and archives; fails if an image is too large.
fn write(images: &[Image], output: &Path) -> anyhow::Result<()> {
    let written = write_layout(images, &output.join("oci"))?;
    for (image, written) in images.iter().zip(&written) {
        let architecture = image.architecture;
        image.write_archive(&output.join(format!("vault-issuer-{architecture}.tar")))?;
        let mb = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000);
        println!(
            "{} linux/{architecture}: {}, {} ({} compressed)",
            image.name,
            written.digest,
            mb(written.unpacked),
            mb(written.compressed),
        );
        ensure!(
            written.unpacked <= UNPACKED && written.compressed <= COMPRESSED,
            "the image is larger than {} ({} compressed)",
            mb(UNPACKED),
            mb(COMPRESSED),
        );
    }
    Ok(())
}
