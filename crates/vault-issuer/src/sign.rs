//! `vault-issuer sign`: signs one CSR with the access that a check returns.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use issuer_core::access::Access;
use issuer_core::vault::Sign;
use issuer_core::{Chain, Request, RequestSpec, SigningRequest, Step, VerifyOptions};

use crate::args::SignArgs;
use crate::check::Check;
use crate::manifest;
use crate::source::Source;

/// How long a signature may take, unless the issuer has its own limit.
const SIGN_TIMEOUT: Duration = Duration::from_secs(60);

/// Signs a CSR. The certificate goes to a file or to `out`, the steps to `notes`.
pub(crate) fn run(args: &SignArgs, out: &mut dyn Write, notes: &mut dyn Write) -> anyhow::Result<()> {
    let signatures = issuer_tls::signatures();
    let csr = manifest::bytes(&args.csr)?;
    let spec = RequestSpec {
        csr: &csr,
        duration: args.duration.as_deref(),
        is_ca: args.is_ca,
        ..RequestSpec::default()
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
    let outputs = Outputs::open(args)?;
    let mut check = Check::new(&args.issuer, &source, notes);
    let mut access = check
        .establish(issuer)
        .with_context(|| format!("{} cannot sign", issuer.key))?;
    let signed = sign(&check, &mut access, wanted);
    check.revoke(&access)?;
    let chain = signed.with_context(|| format!("{} did not sign", issuer.key))?;
    outputs.write(&chain, out)?;
    writeln!(
        notes,
        "Signed: serial {}, valid until {}.",
        chain.serial, chain.not_after
    )?;
    Ok(())
}

fn sign(check: &Check<'_>, access: &mut Access, wanted: SigningRequest) -> anyhow::Result<Chain> {
    access.path.takes(wanted.is_ca())?;
    let options = VerifyOptions {
        mode: access.verification(),
        ..issuer_tls::signatures().into()
    };
    let step = Sign::begin(&access.vault, &access.path, &access.lease, wanted, options);
    let timeout = access.sign_timeout().unwrap_or(SIGN_TIMEOUT);
    let step = match step {
        Step::Send(request, flow) => Step::Send(Request { timeout, ..request }, flow),
        done @ Step::Done(_) => done,
    };
    let verified = check.driver().drive(step)?;
    access.signed(verified.chain().is_leased);
    Ok(verified.chain().clone())
}

/// The files for the certificate and its CA, opened before anything is signed: a certificate that cannot be written would
/// be lost.
struct Outputs {
    certificate: Option<Output>,
    ca: Option<Output>,
}

impl Outputs {
    fn open(args: &SignArgs) -> anyhow::Result<Self> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(Output::open).transpose();
        Ok(Self {
            certificate: open(&args.output)?,
            ca: open(&args.ca_output)?,
        })
    }

    fn write(self, chain: &Chain, out: &mut dyn Write) -> anyhow::Result<()> {
        match self.certificate {
            Some(output) => output.write(&chain.certificate)?,
            None => out.write_all(chain.certificate.as_bytes())?,
        }
        if let Some(output) = self.ca {
            output.write(chain.ca.as_deref().context("Vault sent no CA certificate along")?)?;
        }
        Ok(())
    }
}

/// A file that is open for writing; one that did not exist is removed again unless it is written.
struct Output {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl Output {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let is_new = !path.exists();
        let file = File::options().write(true).create(true).truncate(false).open(path);
        Ok(Self {
            path: path.to_owned(),
            file: file.with_context(|| format!("cannot write {}", path.display()))?,
            is_new,
        })
    }

    fn write(mut self, text: &str) -> anyhow::Result<()> {
        // A device or pipe has no length to set.
        let emptied = if self.file.metadata()?.is_file() {
            self.file.set_len(0)
        } else {
            Ok(())
        };
        let written = emptied.and_then(|()| self.file.write_all(text.as_bytes()));
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.is_new = false;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_new {
            // Nothing was written, so nothing is lost if this fails.
            let _ = fs::remove_file(&self.path);
        }
    }
}
