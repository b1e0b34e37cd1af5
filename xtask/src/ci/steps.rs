//! The steps and what each of them needs.

use std::env;
use std::process::Command;

use anyhow::Context;
use xtask::process::cargo;

use super::tools;

/// One check.
pub(super) struct Step {
    /// The name.
    pub(super) name: &'static str,
    /// What runs it.
    pub(super) program: Program,
    /// The steps that must have passed before this one starts.
    pub(super) after: &'static [&'static str],
}

/// A program with arguments, separated by blanks.
#[derive(Clone, Copy)]
pub(super) enum Program {
    /// cargo. It holds the lock of the target folder while it compiles, so no two of these steps run at once.
    Cargo(&'static str),
    /// A program of the workspace, which the step `build` has compiled.
    Built(&'static str),
}

/// All steps, in the order in which they start.
///
/// The steps of cargo form one chain, in which what fails fastest comes first. The servers of the end-to-end tests are
/// built beside it, and then Helm and promtool for the tests of the chart: Go and cargo leave each other idle time.
pub(super) static STEPS: [Step; 15] = [
    step("fmt", Program::Cargo("fmt --check"), &[]),
    step("tidy", Program::Cargo("xtask tidy"), &["fmt"]),
    // Everything at once: cargo compiles a dependency anew for each set of features that a smaller build asks of it.
    step(
        "build",
        Program::Cargo("build --workspace --all-targets --locked"),
        &["tidy"],
    ),
    step("components", Program::Built("e2e components"), &["build"]),
    step(
        "clippy",
        Program::Cargo("clippy --workspace --all-targets --locked -- -D warnings"),
        &["build"],
    ),
    step(
        "doc",
        Program::Cargo("doc --workspace --no-deps --document-private-items --locked"),
        &["clippy"],
    ),
    step("test", Program::Cargo("test --workspace --locked"), &["doc"]),
    step("codegen", Program::Built("codegen --check"), &["build"]),
    step("demo", Program::Cargo("xtask demo"), &["test"]),
    // Advisories come from GitHub, which a machine that builds from a registry mirror cannot reach; the workflow in
    // .github checks them.
    step(
        "deny",
        Program::Cargo("deny --locked check bans licenses sources"),
        &["demo"],
    ),
    // The scopes `pair` and `user-changes` take longer than all the rest: `cargo xtask sim --explore` explores them too.
    step(
        "explore",
        Program::Cargo(
            "xtask sim --explore --scope start --scope check --scope claimed --scope shared --scope poison --scope csr",
        ),
        &["deny"],
    ),
    step("seeds", Program::Cargo("xtask sim --seeds 200"), &["explore"]),
    step("chart", Program::Built("chart"), &["build", "components"]),
    step("e2e", Program::Built("e2e run"), &["build", "components", "chart"]),
    // Not beside the cases of the step before, some of which measure times.
    step(
        "kind",
        Program::Built("e2e run --provider kind"),
        &["build", "components", "e2e"],
    ),
];

const fn step(name: &'static str, program: Program, after: &'static [&'static str]) -> Step {
    Step { name, program, after }
}

impl Step {
    /// Returns `true` if the step runs a program that the step `build` compiles.
    pub(super) fn needs_build(&self) -> bool {
        matches!(self.program, Program::Built(_))
    }

    /// Returns the command; installs the tool that it needs.
    pub(super) fn command(&self) -> anyhow::Result<Command> {
        if self.name == "deny" {
            tools::install_cargo_deny()?;
        }
        let (mut command, args) = match self.program {
            Program::Cargo(args) => (cargo([]), args),
            Program::Built(line) => {
                let (name, args) = line.split_once(' ').unwrap_or((line, ""));
                let own = env::current_exe()?;
                let folder = own.parent().context("this program is in no folder")?;
                (Command::new(folder.join(name)), args)
            }
        };
        command.args(args.split_whitespace()).env("PATH", tools::path()?);
        if self.name == "doc" {
            command.env("RUSTDOCFLAGS", "-D warnings");
        }
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_those_they_need() {
        for (position, step) in STEPS.iter().enumerate() {
            for needed in step.after {
                let found = STEPS.iter().position(|other| other.name == *needed).unwrap();
                assert!(found < position, "{} starts before {needed}", step.name);
            }
        }
    }

    #[test]
    fn cargo_steps_form_one_chain() {
        let cargo: Vec<&Step> = STEPS
            .iter()
            .filter(|step| matches!(step.program, Program::Cargo(_)))
            .collect();
        for pair in cargo.windows(2) {
            assert_eq!(pair[1].after, [pair[0].name]);
        }
    }
}
