//! `vault-issuer migrate`: from cert-manager's own issuers to ours, as YAML to review.

#[cfg(feature = "cluster")]
mod cluster;
mod moves;
mod objects;
mod plan;
mod rights;
mod section;
mod unknown;
mod warnings;

use std::io::Write;

use anyhow::ensure;

use self::objects::Objects;
use self::plan::Plan;
use crate::args::MigrateArgs;

/// Writes the objects and commands of a migration.
pub(crate) fn run(args: &MigrateArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let objects = Objects::read(args)?;
    ensure!(
        !objects.issuers.is_empty(),
        "there is no Issuer or ClusterIssuer of cert-manager that signs with Vault"
    );
    out.write_all(Plan::new(args, &objects).text()?.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests;
