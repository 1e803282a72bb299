//! Specs to how often they traverse their keys.

use std::path::Path;

use attnc::analyze::passes::passes;
use attnc::driver::{Request, outline};
use attnc::files::{fetch, read_spec, root_of};
use attnc::rewrite::saturate;
use attnc_dsl::check::Fixed;

/// The passes of one algorithm over the keys.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The kernel.
    pub name: String,
    /// As its paper writes it.
    pub written: u32,
    /// The fewest of all equal cascades.
    pub bound: u32,
    /// What the first line of the spec says.
    pub about: String,
}

/// Counts the passes over the rank `n` of every spec in `specs/`, in order.
pub fn table() -> Vec<Row> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs");
    let entries = std::fs::read_dir(folder).expect("the specs are there");
    let mut paths: Vec<_> = entries.map(|it| it.expect("an entry can be read").path()).collect();
    paths.sort();
    paths.iter().map(|it| row(it)).collect()
}

fn row(path: &Path) -> Row {
    let source = read_spec(path).expect("the spec can be read");
    let about = source.text.lines().next().unwrap_or_default().trim_start_matches("#! ").to_owned();
    let mut imports = |it: &str| fetch(&root_of(path), it);
    let front = outline(Request { source, fetch: &mut imports, fixed: Fixed::default() });
    let cascade = front.unwrap_or_else(|it| panic!("{:?}", it.diagnostics)).cascades.remove(0);
    let keys = cascade.ranks.iter().find(|(_, it)| it.name == "n").expect("keys are called `n`").0;
    Row {
        written: passes(&cascade, keys).passes,
        bound: saturate(&cascade).bound(keys).0,
        name: cascade.name,
        about,
    }
}
