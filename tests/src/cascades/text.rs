//! A kernel under construction: declarations in the order in which they are asked for.

use attnc::verify::Character;
use indexmap::{IndexMap, IndexSet};

use super::Drawn;

/// The items of a kernel, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct Text {
    functions: IndexSet<String>,
    items: IndexSet<String>,
    equations: Vec<String>,
    sizes: IndexMap<String, i64>,
}

impl Text {
    /// A rank whose extent inputs carry; the first extent that is asked for counts.
    pub(super) fn carried(&mut self, rank: &str, extent: i64) {
        self.items.insert(format!("rank {rank}"));
        self.sizes.entry(rank.to_owned()).or_insert(extent);
    }

    /// A rank that is declared so; its extent counts only if inputs carry it.
    pub(super) fn rank(&mut self, name: &str, declaration: &str, extent: i64) {
        self.items.insert(format!("rank {name}{declaration}"));
        self.sizes.entry(name.to_owned()).or_insert(extent);
    }

    pub(super) fn input(&mut self, name: &str, ranks: &[&str], dtype: &str) {
        self.items.insert(format!("input {}: {dtype}", at(name, ranks)));
    }

    pub(super) fn param(&mut self, name: &str, value: &str) {
        self.items.insert(format!("param {name}: f32 = {value}"));
    }

    pub(super) fn function(&mut self, text: &str) {
        self.functions.insert(text.to_owned());
    }

    pub(super) fn equation(&mut self, name: &str, ranks: &[&str], value: &str) {
        self.equations.push(format!("{} = {value}", at(name, ranks)));
    }

    /// An equation whose left-hand side is more than a tensor at its ranks.
    pub(super) fn line(&mut self, text: String) {
        self.equations.push(text);
    }

    pub(super) fn output(&mut self, name: &str, ranks: &[&str], dtype: &str, value: &str) {
        self.equations.push(format!("output {}: {dtype} = {value}", at(name, ranks)));
    }

    pub(super) fn drawn(self, character: Character, seed: u64) -> Drawn {
        let mut text: String = self.functions.iter().map(|it| format!("{it}\n\n")).collect();
        text += "kernel drawn {\n";
        for line in self.items.iter().chain(&self.equations) {
            text += &format!("  {line}\n");
        }
        Drawn { text: text + "}\n", sizes: self.sizes, character, seed }
    }
}

fn at(name: &str, ranks: &[&str]) -> String {
    if ranks.is_empty() { name.to_owned() } else { format!("{name}[{}]", ranks.join(", ")) }
}
