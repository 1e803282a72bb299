//! `attnc analyze`: passes, depth, footprints and work of each kernel, as written and as chosen.

use std::fmt::Write;
use std::path::PathBuf;

use attnc::analyze::{Analysis, Counts, Footprint, Form, RankAnalysis, analyze as analysis_of};
use serde_json::json;

use crate::exit::Outcome;
use crate::output;
use crate::spec::{self, Settings};

/// Count passes, footprints, FLOPs and bytes of the cascades as written and as chosen
#[derive(Debug, clap::Args)]
#[command(
    after_help = "FLOPs and bytes need the extents of all ranks.\n\nExample:\n  attnc analyze examples/gallery/softmax_attention.attn --set b=1 --set h=8 --set m=2048 --set n=2048 --set d=64 --set e=64"
)]
pub(crate) struct Args {
    /// The spec; `-` is standard input
    spec: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

pub(crate) fn analyze(args: &Args) -> Outcome {
    let front = spec::outline(&args.spec, &args.settings)?;
    let kernels: Vec<Analysis> = front.cascades.iter().map(analysis_of).collect();
    output::stdout(&if args.json {
        format!("{:#}\n", json!({ "kernels": kernels }))
    } else {
        kernels.iter().map(text).collect::<Vec<_>>().join("\n")
    })
}

fn text(kernel: &Analysis) -> String {
    let mut text = format!("kernel {}\n\n  {:<12} {:^22}   {:^22}\n", kernel.name, "", "passes", "depth");
    let [written, bound, chosen] = ["written", "bound", "chosen"];
    let head = format_args!(
        "  {:<12} {written:>8} {bound:>6} {chosen:>6}   {written:>8} {bound:>6} {chosen:>6}",
        "rank"
    );
    put(&mut text, head);
    for (name, RankAnalysis { passes, depth }) in &kernel.ranks {
        let count = |it: &Counts| format!("{:>8} {:>6} {:>6}", it.written, it.bound, it.chosen);
        put(&mut text, format_args!("  {name:<12} {}   {}", count(passes), count(depth)));
    }
    put(&mut text, format_args!("\n  {:<20} {:<9} {:>14}", "tensor", "footprint", "bytes"));
    for (name, it) in &kernel.tensors {
        let footprint = match it.footprint {
            Footprint::Tile => "tile",
            Footprint::Fiber => "fiber",
        };
        put(&mut text, format_args!("  {name:<20} {footprint:<9} {:>14}", number(it.bytes)));
    }
    put(&mut text, format_args!(""));
    alternatives(kernel, &mut text);
    put(
        &mut text,
        format_args!("\n  FLOPs {}, bytes in and out {}", number(kernel.flops), number(kernel.bytes)),
    );
    text
}

/// The table of equal cascades that were considered.
pub(crate) fn alternatives(kernel: &Analysis, text: &mut String) {
    let [passes, bytes, flops] = ["passes", "bytes moved", "FLOPs"];
    put(text, format_args!("  {:<12} {passes:>6} {bytes:>16} {flops:>16}", "alternative"));
    for (at, it) in kernel.alternatives.iter().enumerate() {
        let name = match it.form {
            Form::Chosen => "chosen".to_owned(),
            Form::Written => "as written".to_owned(),
            Form::Other => (at + 1).to_string(),
        };
        let why = it.why.unwrap_or_default();
        put(text, format_args!("  {name:<12} {:>6} {:>16} {:>16}   {why}", it.passes, it.bytes, it.flops));
    }
    if !kernel.assumed.is_empty() {
        let extents: Vec<String> = kernel.assumed.iter().map(|(rank, it)| format!("{rank}={it}")).collect();
        put(text, format_args!("  compared at {}, for extents that are not known", extents.join(" ")));
    }
}

/// A count, where extents are known.
fn number(count: Option<f64>) -> String {
    count.map_or_else(|| "?".to_owned(), |it| format!("{it}"))
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("text can grow");
}
