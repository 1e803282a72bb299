//! The help: there for every command, with examples that work.

use std::process::Command;

use crate::folder::{Folder, cache, repository};

/// The commands that the help lists.
fn commands(folder: &Folder) -> Vec<String> {
    let help = folder.attnc("--help").stdout;
    let list = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let names = list.lines().map(|it| it.split_whitespace().next().unwrap().to_owned());
    names.filter(|it| it != "help").collect()
}

/// The lines of a help that a user may type, joined where they are continued.
fn examples(help: &str) -> Vec<String> {
    let help = help.replace("\\\n", " ");
    let lines = help.lines().filter(|it| it.starts_with("  attnc "));
    lines.map(|it| it.trim().to_owned()).collect()
}

#[test]
fn examples_work() {
    let folder = Folder::new();
    for name in ["examples", "tests"] {
        std::os::unix::fs::symlink(repository().join(name), folder.path(name)).unwrap();
    }
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_attnc")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(program.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    for command in commands(&folder) {
        let examples = examples(&folder.attnc(&format!("{command} --help")).stdout);
        assert!(!examples.is_empty(), "{command} has no example");
        for example in examples {
            let mut shell = Command::new("sh");
            shell.args(["-c", &example]).current_dir(folder.path("")).env("PATH", path.as_ref().unwrap());
            shell.env("XDG_CACHE_HOME", cache());
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{example}\n{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
