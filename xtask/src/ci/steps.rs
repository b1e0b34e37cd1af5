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
    /// The program that runs it.
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
    /// The same, compiled by the step `optimized`.
    Optimized(&'static str),
}

/// All steps, in the order in which they start.
///
/// The steps of cargo form one chain, in which what fails fastest comes first. Beside it, Go builds the servers of the
/// end-to-end tests, which run while there is something else to do: they leave the processor idle half of the time. Helm
/// and promtool, for the tests of the chart, are compiled last. The kind clusters start after everything else but the
/// steps that need one core: their cases measure how long requests wait.
pub(super) static STEPS: [Step; 18] = [
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
    // All at once, for the same reason as above: with other features the core would be compiled twice.
    step(
        "optimized",
        Program::Cargo("build --profile optimized --package simulator --package micro --all-targets --locked"),
        &["doc"],
    ),
    step(
        "test",
        Program::Cargo("test --workspace --exclude simulator --exclude micro --locked"),
        &["optimized"],
    ),
    // The tests of the simulator take minutes unless it is optimized.
    step(
        "simulation",
        Program::Cargo("test --profile optimized --package simulator --package micro --locked"),
        &["test"],
    ),
    step("demo", Program::Cargo("xtask demo"), &["simulation"]),
    // Advisories come from GitHub, which a machine that builds from a registry mirror cannot reach; the workflow in
    // .github checks them.
    step(
        "deny",
        Program::Cargo("deny --locked check bans licenses sources"),
        &["demo"],
    ),
    step("codegen", Program::Built("codegen --check --built"), &["build"]),
    step("e2e", Program::Built("e2e run"), &["build", "components"]),
    // The scopes `pair` and `user-changes` take longer than all the rest: `cargo xtask sim --explore` explores them too.
    step(
        "explore",
        Program::Optimized("simulator --explore --skip pair --skip user-changes"),
        &["optimized"],
    ),
    step("seeds", Program::Optimized("simulator --seeds 200"), &["optimized"]),
    step("micro", Program::Optimized("micro"), &["optimized"]),
    step("chart", Program::Built("chart"), &["build", "components"]),
    // Skipped where neither Docker, kind, kubectl and Helm nor root and the packages for an engine of its own are there.
    step(
        "kind",
        Program::Built("e2e run --provider kind"),
        &["build", "components", "e2e", "chart"],
    ),
];

const fn step(name: &'static str, program: Program, after: &'static [&'static str]) -> Step {
    Step { name, program, after }
}

impl Step {
    /// Returns the step that compiles the program, unless cargo does while it runs it.
    pub(super) fn compiled_by(&self) -> Option<&'static str> {
        match self.program {
            Program::Cargo(_) => None,
            Program::Built(_) => Some("build"),
            Program::Optimized(_) => Some("optimized"),
        }
    }

    /// Returns the command; installs the tool that it needs.
    pub(super) fn command(&self) -> anyhow::Result<Command> {
        if self.name == "deny" {
            tools::install_cargo_deny()?;
        }
        let (mut command, args) = match self.program {
            Program::Cargo(args) => (cargo([]), args),
            Program::Built(line) => program("debug", line)?,
            Program::Optimized(line) => program("optimized", line)?,
        };
        command.args(args.split_whitespace()).env("PATH", tools::path()?);
        if self.name == "doc" {
            command.env("RUSTDOCFLAGS", "-D warnings");
        }
        Ok(command)
    }
}

/// Returns the program of a command line, in the folder of a profile beside this program's, and the arguments.
fn program(profile: &str, line: &'static str) -> anyhow::Result<(Command, &'static str)> {
    let (name, args) = line.split_once(' ').unwrap_or((line, ""));
    let own = env::current_exe()?;
    let folders = own.ancestors().nth(2).context("this program is in no target folder")?;
    Ok((Command::new(folders.join(profile).join(name)), args))
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
    fn programs_are_compiled_first() {
        for step in &STEPS {
            if let Some(compiling) = step.compiled_by() {
                assert!(step.after.contains(&compiling), "{}", step.name);
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
