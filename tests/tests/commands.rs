//! The command lines that the documents show: every flag in them is one that the program takes.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use blockferry_tests::cast::binary;
use blockferry_tests::tree;

/// Files whose lines show how the programs are started.
const SHOWN_IN: [&str; 3] = ["README.md", "docker-compose.yml", "packaging/docker/part"];

/// Scripts whose flags the README names too; their heads list them.
const SCRIPTS: [&str; 2] = ["dev/compose", "dev/demo"];

const PROGRAMS: [&str; 5] =
    ["target-src", "target-dst", "switch-proxy", "controller", "blockferry-check"];

#[test]
fn every_flag_in_the_documents_is_one_that_its_program_takes() -> Result<()> {
    let mut helps = BTreeMap::new();
    let mut checked = 0;
    for file in SHOWN_IN {
        let text = tree::read(file)?.text;
        let shown = if file.ends_with(".md") {
            text.split("```").skip(1).step_by(2).collect()
        } else {
            text
        };
        for line in commands(&shown) {
            for (program, flag) in flags(&line) {
                if !helps.contains_key(&program) {
                    helps.insert(program.clone(), help(&program)?);
                }
                assert!(takes(&helps[&program], &flag), "{file}: {program} has no {flag}");
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "only {checked} flags were found in {SHOWN_IN:?}");
    Ok(())
}

#[test]
fn every_flag_in_the_prose_of_the_readme_exists_somewhere() -> Result<()> {
    let mut helps = String::new();
    for program in ["target-src", "switch-proxy", "controller migrate", "controller promote"] {
        helps += &help(program)?;
    }
    for script in SCRIPTS {
        helps += &tree::read(script)?.text;
    }
    let readme = tree::read("README.md")?.text;
    let prose = readme.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2));
    for flag in prose.flat_map(str::split_whitespace).filter(|word| word.starts_with("--")) {
        assert!(takes(&helps, flag), "README.md names {flag}, which nothing takes");
    }
    Ok(())
}

/// The file's lines, those that go on in deeper ones joined to one.
fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for line in text.lines() {
        match commands.last_mut() {
            Some(last) if line.trim_start().starts_with("--") => last.extend([" ", line.trim()]),
            _ => commands.push(line.to_owned()),
        }
    }
    commands
}

/// Every flag that follows a program's name, with that name and its subcommand.
fn flags(line: &str) -> Vec<(String, String)> {
    let mut flags = Vec::new();
    let mut program: Option<String> = None;
    let words: Vec<&str> =
        line.split_whitespace().map(|word| word.trim_matches(['`', '"', ','])).collect();
    for (index, word) in words.iter().enumerate() {
        if PROGRAMS.contains(word) {
            let next = words
                .get(index + 1)
                .filter(|next| next.starts_with(|c: char| c.is_ascii_lowercase()));
            let next = next.filter(|_| matches!(*word, "controller" | "blockferry-check"));
            program = Some(next.map_or((*word).to_owned(), |next| format!("{word} {next}")));
        } else if let (Some(program), true) = (&program, word.starts_with("--")) {
            flags.push((program.clone(), word.split('=').next().unwrap_or(word).to_owned()));
        }
    }
    flags
}

fn help(program: &str) -> Result<String> {
    let (name, command) = program.split_once(' ').unwrap_or((program, ""));
    let mut help = Command::new(binary(name));
    help.args(command.split_whitespace()).arg("--help");
    let output = help.output().with_context(|| format!("{program} --help"))?;
    assert!(
        output.status.success(),
        "{program} --help: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).context("help is text")
}

fn takes(help: &str, flag: &str) -> bool {
    flag == "--help"
        || help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == flag)
}
