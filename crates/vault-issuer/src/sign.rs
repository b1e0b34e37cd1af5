use std::fs;
use std::io::Write;

use anyhow::{Context, bail};
use issuer_core::access::Access;
use issuer_core::vault::Sign;
use issuer_core::{Chain, RequestSpec, SigningRequest};

use crate::args::SignArgs;
use crate::check::Check;
use crate::manifest;
use crate::source::Source;

/// Signs a CSR; the certificate goes to a file or to `out`, and what was done to `notes`.
pub(crate) fn run(args: &SignArgs, out: &mut dyn Write, notes: &mut dyn Write) -> anyhow::Result<()> {
    let signatures = issuer_tls::signatures();
    let csr = manifest::bytes(&args.csr)?;
    let spec = RequestSpec {
        csr: &csr,
        duration: args.duration.as_deref(),
        is_ca: args.is_ca,
        usages: &[],
    };
    let wanted =
        SigningRequest::parse(spec, &signatures).with_context(|| format!("{} cannot be signed", args.csr.display()))?;
    let (issuers, source) = Source::find(&args.issuer)?;
    let [issuer] = issuers.as_slice() else {
        bail!(
            "the files hold {} issuers; name one, such as vaultissuer/NAME",
            issuers.len()
        );
    };
    let mut check = Check::new(&args.issuer, &source, notes);
    let access = check
        .establish(issuer)
        .with_context(|| format!("{} cannot sign", issuer.key))?;
    let signed = sign(&check, &access, wanted);
    check.revoke(&access)?;
    let chain = signed.with_context(|| format!("{} did not sign", issuer.key))?;
    write(args, &chain, out)?;
    writeln!(
        notes,
        "Signed: serial {}, valid until {}.",
        chain.serial, chain.not_after
    )?;
    Ok(())
}

fn sign(check: &Check<'_>, access: &Access, wanted: SigningRequest) -> anyhow::Result<Chain> {
    access.path.takes(wanted.is_ca())?;
    let step = Sign::begin(
        &access.vault,
        &access.path,
        &access.lease,
        wanted,
        issuer_tls::signatures(),
    );
    let verified = check.driver().drive(step)?;
    Ok(verified.chain().clone())
}

fn write(args: &SignArgs, chain: &Chain, out: &mut dyn Write) -> anyhow::Result<()> {
    match &args.output {
        Some(file) => {
            fs::write(file, &chain.certificate).with_context(|| format!("cannot write {}", file.display()))?
        }
        None => out.write_all(chain.certificate.as_bytes())?,
    }
    if let Some(file) = &args.ca_output {
        let ca = chain.ca.as_deref().context("Vault sent no CA certificate along")?;
        fs::write(file, ca).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
