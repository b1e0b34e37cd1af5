//! Averages over many files: the words of a test's name, and the code for each comment of the core.

use std::fs;

use crate::Finding;

/// The most words of a test's name, times two, so that it is a whole number.
const WORDS_TWICE: usize = 11;

/// The most lines of code for each comment that says why.
const CODE: usize = 50;

const CORE: &str = "crates/issuer-core/src/";

pub(crate) fn check(files: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut averages = Averages::default();
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        averages.add(path, &fs::read_to_string(path)?);
    }
    Ok(averages.findings())
}

/// The numbers from which the averages are calculated.
#[derive(Default)]
struct Averages {
    tests: usize,
    words: usize,
    code: usize,
    comments: usize,
}

impl Averages {
    fn add(&mut self, path: &str, text: &str) {
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            is_test |= line.starts_with("#[") && line.contains("test]");
            let name = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            if let Some((name, _)) = name.filter(|_| is_test) {
                self.tests += 1;
                self.words += name.split('_').count();
                is_test = false;
            }
        }
        if path.starts_with(CORE) && !path.contains("/tests") {
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let lines = code.lines().map(str::trim).filter(|line| !line.is_empty());
            let (comments, code): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("//"));
            self.code += code.len();
            self.comments += comments.iter().filter(|line| line.starts_with("// ")).count();
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.words * 2 > self.tests * WORDS_TWICE {
            let rule = format!("the names of {} tests have {} words", self.tests, self.words);
            findings.push(finding("tests", rule));
        }
        if self.code > self.comments * CODE {
            let rule = format!("{} comments are too few for {} lines", self.comments, self.code);
            findings.push(finding(CORE, rule));
        }
        findings
    }
}

fn finding(file: &str, rule: String) -> Finding {
    Finding {
        file: file.into(),
        line: 1,
        rule,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<String> {
        let mut averages = Averages::default();
        averages.add(path, text);
        averages.findings().into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn long_test_names_are_found() {
        let short = "#[test]\nfn a_b() {}\n#[tokio::test]\nasync fn a_b_c_d_e_f_g_h_i() {\n    fn not_a_test() {}\n}\n";
        assert_eq!(rules("a.rs", short), Vec::<String>::new());
        let long = format!("{short}#[test]\n#[cfg(unix)]\nfn a_b_c_d_e_f() {{}}\n");
        assert_eq!(rules("a.rs", &long), ["the names of 3 tests have 17 words"]);
    }

    #[test]
    fn comments_of_the_core_are_counted() {
        let path = "crates/issuer-core/src/a.rs";
        let code = |lines: usize| {
            format!(
                "/// Doc.\n// Why.\n{}\n#[cfg(test)]\nmod tests {{\n}}\n",
                "x\n\n".repeat(lines)
            )
        };
        assert_eq!(rules(path, &code(50)), Vec::<String>::new());
        assert_eq!(rules(path, &code(51)), ["1 comments are too few for 51 lines"]);
        assert_eq!(rules("crates/issuer-tls/src/a.rs", &code(51)), Vec::<String>::new());
    }
}
