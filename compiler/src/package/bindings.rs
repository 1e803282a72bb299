//! The kernels of an object to Rust bindings: for each a function that returns the kernel.
//!
//! They are complete in themselves: each names the C functions, which a static library holds, and has
//! its manifest entry inside. `attnc_runtime::kernel!` includes them.

use std::fmt::Write;

use attnc_runtime::manifest::{KernelInfo, Manifest, Role};

use super::Object;

/// The text of `STEM.rs`.
pub(super) fn bindings(object: &Object) -> String {
    let mut text = format!("// Made by attnc {} for {}.\n", env!("CARGO_PKG_VERSION"), object.target);
    object.kernels.iter().for_each(|it| text.push_str(&kernel(it)));
    text
}

fn kernel(info: &KernelInfo) -> String {
    let manifest = Manifest::new(env!("CARGO_PKG_VERSION"), vec![info.clone()], Vec::new());
    let manifest = serde_json::to_string(&manifest).expect("a manifest has text keys only");
    let mut text = String::from("\n");
    for line in docs(info).lines() {
        let _ = writeln!(text, "{}", format!("/// {line}").trim_end());
    }
    let _ = write!(
        text,
        "pub fn {}() -> &'static ::attnc_runtime::Kernel {{\n    ::attnc_runtime::linked! {{\n        \
         {},\n        {manifest:?},\n    }}\n}}\n",
        identifier(&info.name),
        ["bind", "workspace", "check", "tasks", "run"].map(|it| format!("{}_{it}", info.symbol)).join(", "),
    );
    text
}

/// What the spec says of a kernel, and what it is called with.
fn docs(info: &KernelInfo) -> String {
    let mut docs = String::new();
    if !info.docs.is_empty() {
        // A fence keeps rustdoc from taking the text for links, or for code to test.
        let _ = writeln!(docs, "~~~~~text\n{}\n~~~~~\n", info.docs);
    }
    for tensor in &info.tensors {
        let dims: Vec<_> = tensor.dims.iter().map(ToString::to_string).collect();
        let what = match tensor.role {
            Role::Input => "Input",
            Role::Output => "Output",
        };
        let _ = writeln!(docs, "- {what} `{}[{}]: {}`", tensor.name, dims.join(", "), tensor.dtype);
    }
    for param in &info.params {
        let value = match (&param.fixed, &param.default) {
            (Some(value), _) => format!(" = {value}`, fixed"),
            (None, Some(text)) => format!(" = {text}`"),
            (None, None) => "`".into(),
        };
        let _ = writeln!(docs, "- Parameter `{}: {}{value}", param.name, param.dtype);
    }
    docs
}

/// The name as Rust can say it.
fn identifier(name: &str) -> String {
    match name {
        "_" | "self" | "super" | "crate" | "Self" => format!("{name}_"),
        _ if KEYWORDS.contains(&name) => format!("r#{name}"),
        _ => name.to_owned(),
    }
}

/// Words of Rust, those of the future among them.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
    "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move",
    "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];
