//! The health checks for Argo CD, which are programs in Lua.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;
use xtask::process::read;
use xtask::tool::Tool;

use crate::helm::Helm;

/// The interpreter that Argo CD has inside.
const LUA: Tool = Tool {
    name: "glua",
    package: "github.com/yuin/gopher-lua/cmd/glua@v1.1.1",
    tags: "",
    version: "-v",
};

/// Issuers as tables of Lua, and their health.
const ISSUERS: [(&str, &str); 5] = [
    ("{metadata = {generation = 1}}", "Progressing: Not checked yet"),
    (
        r#"{metadata = {generation = 1}, status = {observedGeneration = 1}}"#,
        "Progressing: Not checked yet",
    ),
    (
        r#"{metadata = {generation = 2}, status = {observedGeneration = 2, conditions = {
            {type = "Warning", status = "True", message = "W"}, {type = "Ready", status = "True", message = "R"}}}}"#,
        "Healthy: R",
    ),
    (
        r#"{metadata = {generation = 2}, status = {observedGeneration = 2, conditions = {
            {type = "Ready", status = "False", message = "Vault is sealed"}}}}"#,
        "Degraded: Vault is sealed",
    ),
    (
        r#"{metadata = {generation = 3}, status = {observedGeneration = 2, conditions = {
            {type = "Ready", status = "True", message = "of another spec"}}}}"#,
        "Progressing: Not checked yet",
    ),
];

/// Both kinds have a check, which distinguishes the states of an issuer.
pub(super) fn health(_: &Helm) -> anyhow::Result<()> {
    let lua = LUA.find()?.context("there is neither glua nor go")?;
    let manifest: Value = serde_saphyr::from_str(&fs::read_to_string("deploy/argo-cd/health.yaml")?)?;
    for kind in ["VaultIssuer", "VaultClusterIssuer"] {
        let key = format!("resource.customizations.health.vault-issuer.io_{kind}");
        let check = manifest["data"][&key].as_str().context(key)?;
        let mut script = format!("local function check(obj)\n{check}\nend\n");
        for (issuer, _) in ISSUERS {
            writeln!(script, "do local health = check({issuer})")?;
            writeln!(script, "print(health.status .. \": \" .. health.message) end")?;
        }
        fs::create_dir_all("target/chart")?;
        fs::write("target/chart/health.lua", script)?;
        let printed = read(Command::new(&lua).arg("target/chart/health.lua"))?;
        ensure!(printed.lines().eq(ISSUERS.map(|(_, health)| health)), "{printed}");
    }
    Ok(())
}
