//! `attnc explain`: why the compiled cascade equals the one that was written, and why it is not another.

use std::fmt::Write;
use std::path::PathBuf;

use attnc::analyze::{Analysis, Counts, analyze as analysis_of};
use attnc::choose::chosen;
use attnc::codegen::Backend;
use attnc::driver::plan;
use attnc::ir::cascade::Cascade;
use attnc::rewrite::{Block, Derivation, Disagreement, Replay, Step, Stop as End, explain as derivation_of};
use attnc::schedule::{Mapping, StageAccount};
use attnc::target::Target;
use serde_json::{Value, json};

use crate::exit::{Outcome, Status, Stop};
use crate::mapping::MappingArg;
use crate::spec::{self, Settings};
use crate::{analyze, output, report};

/// Show the derivation of the cascade that is compiled, law by law, and what was considered and rejected
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Subterms go by the names of the spec; x₁, x₂, … are given on the way and listed below the derivation. `<` marks a law that
is applied from right to left. With --replay, every step is run on random and adversarial tensors, and a step that does
not hold ends with exit status 3.

Example:
  attnc explain examples/gallery/softmax_attention.attn --replay")]
pub(crate) struct Args {
    /// The spec; `-` is standard input
    spec: PathBuf,
    /// The kernel; all by default
    #[arg(long)]
    kernel: Option<String>,
    /// Run every step of the derivation on random tensors
    #[arg(long)]
    replay: bool,
    /// Where the random numbers of --replay begin
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    mapping: MappingArg,
}

/// All that there is to say of one kernel.
struct Account<'a> {
    cascade: &'a Cascade,
    analysis: Analysis,
    derivation: Derivation,
    replay: Option<Replay>,
    mapping: &'a Mapping,
    stages: Vec<StageAccount>,
}

pub(crate) fn explain(args: &Args) -> Outcome {
    // What is replayed has to be bound.
    let front = match args.replay {
        true => spec::bound(&args.spec, &args.settings)?,
        false => spec::outline(&args.spec, &args.settings)?,
    };
    let kernels = match &args.kernel {
        Some(name) => vec![spec::kernel(&front, Some(name))?],
        None => front.cascades.iter().collect(),
    };
    let mapping = args.mapping.of(&args.spec, &front.cascades, &Target::default(), Backend::default())?;
    let mut accounts = Vec::new();
    for cascade in kernels {
        let derivation = derivation_of(cascade, chosen);
        let replayed = args.replay.then(|| derivation.replay(cascade, args.seed)).transpose();
        let replay = replayed.map_err(|it| Stop::internal(format!("kernel `{}`: {it}", cascade.name)))?;
        let stages = plan(cascade, &mapping).account();
        let analysis = analysis_of(cascade);
        accounts.push(Account { cascade, analysis, derivation, replay, mapping: &mapping, stages });
    }
    if args.json {
        report::json(&json!({ "kernels": accounts.iter().map(Account::json).collect::<Vec<_>>() }))?;
    } else {
        output::stdout(&accounts.iter().map(Account::text).collect::<Vec<_>>().join("\n"))?;
    }
    let fails = |it: &Account<'_>| it.replay.as_ref().is_some_and(|it| it.disagreement.is_some());
    if accounts.iter().any(fails) { Err(Stop::said(Status::Unverified)) } else { Ok(()) }
}

impl Account<'_> {
    fn text(&self) -> String {
        let mut text = format!("kernel {}\n", self.analysis.name);
        self.steps(&mut text);
        self.passes(&mut text);
        self.alternatives(&mut text);
        put(&mut text, format_args!("\n  Mapping"));
        self.stages.iter().for_each(|it| put(&mut text, format_args!("    {it}")));
        put(&mut text, format_args!("\n  {}", self.search()));
        if let Some(replay) = &self.replay {
            put(&mut text, format_args!("  {}", replayed(replay)));
        }
        text
    }

    fn steps(&self, text: &mut String) {
        let Derivation { steps, beyond, reordered, named, .. } = &self.derivation;
        if steps.is_empty() {
            put(text, format_args!("\n  The cascade is compiled as written: no law makes it much better."));
        }
        for (number, step) in (1..).zip(steps) {
            let Step { rule, law, exactness, forward, before, after, .. } = step;
            let sign = if *forward { ' ' } else { '<' };
            let passes = self.counts(step);
            put(text, format_args!("\n{number:>4}{sign} {rule}: {law}  ({exactness}){passes}"));
            put(text, format_args!("        {before}\n      = {after}"));
        }
        if *beyond > 0 {
            put(text, format_args!("\n  … and {beyond} steps more, which are not spelled out."));
        }
        if *reordered > 0 {
            put(text, format_args!("\n  {reordered} more steps only put operands in another order."));
        }
        for (number, (name, term)) in named.iter().enumerate() {
            let first = if number == 0 { "where" } else { "" };
            put(text, format_args!("  {first:<6}{name} = {term}"));
        }
    }

    /// The passes that a step changes.
    fn counts(&self, step: &Step) -> String {
        let changed = step.passes.iter().filter(|(_, before, after)| before != after);
        let name = |rank| &self.cascade.ranks[rank].name;
        changed
            .map(|&(rank, before, after)| format!("   {}: {before} → {after} passes", name(rank)))
            .collect()
    }

    fn passes(&self, text: &mut String) {
        put(
            text,
            format_args!("\n  {:<12} {:>8} {:>6} {:>6}   passes", "rank", "written", "bound", "chosen"),
        );
        for (name, it) in &self.analysis.ranks {
            let Counts { written, bound, chosen } = it.passes;
            put(text, format_args!("  {name:<12} {written:>8} {bound:>6} {chosen:>6}"));
        }
        for block in &self.derivation.blocks {
            put(text, format_args!("\n  {}", self.blocked(block)));
        }
    }

    fn blocked(&self, block: &Block) -> String {
        let rank = &self.cascade.ranks[block.rank].name;
        let again = block.again.join(", ");
        let mut text =
            format!("`{rank}` is traversed {} times: {again} is read again in {}", block.passes, block.term);
        if !block.after.is_empty() {
            text += &format!(", after the whole fiber was for {}", block.after.join(", "));
        }
        match &block.through {
            Some(operation) => text + &format!("; no law takes that through {operation}"),
            None => text,
        }
    }

    fn alternatives(&self, text: &mut String) {
        put(text, format_args!(""));
        analyze::alternatives(&self.analysis, text);
    }

    fn search(&self) -> String {
        let report = self.derivation.report;
        let end = match report.stop {
            End::Saturated => "no law finds anything new",
            End::Rounds => "the limit of rounds was reached, so fewer passes may be possible",
            End::Terms => "the limit of terms was reached, so fewer passes may be possible",
        };
        format!("Search: {} rounds, {} terms; {end}.", report.rounds, report.terms)
    }

    fn json(&self) -> Value {
        let name = |rank| self.cascade.ranks[rank].name.clone();
        let steps = self.derivation.steps.iter().map(|it| {
            let passes = it.passes.iter().map(|&(rank, before, after)| (name(rank), json!([before, after])));
            json!({
                "rule": it.rule, "law": it.law, "exactness": it.exactness, "forward": it.forward,
                "before": it.before, "after": it.after,
                "passes": passes.collect::<serde_json::Map<_, _>>(),
            })
        });
        let named = self.derivation.named.iter().map(|(name, term)| (name.clone(), json!(term)));
        let blocks = self.derivation.blocks.iter().map(|it| {
            json!({
                "rank": name(it.rank), "passes": it.passes, "again": it.again, "term": it.term,
                "after": it.after, "through": it.through,
            })
        });
        let report = self.derivation.report;
        json!({
            "name": self.analysis.name,
            "ranks": self.analysis.ranks,
            "steps": steps.collect::<Vec<_>>(),
            "beyond": self.derivation.beyond,
            "reordered": self.derivation.reordered,
            "named": named.collect::<serde_json::Map<_, _>>(),
            "blocks": blocks.collect::<Vec<_>>(),
            "alternatives": self.analysis.alternatives,
            "assumed": self.analysis.assumed,
            "mapping": {
                "defaults": self.mapping.defaults, "ranks": self.mapping.ranks, "stages": self.stages,
            },
            "search": { "rounds": report.rounds, "terms": report.terms, "saturated": report.stop == End::Saturated },
            "replay": self.replay.as_ref().map(replay_json),
        })
    }
}

fn replayed(replay: &Replay) -> String {
    let Replay { cascades, together, comparisons, disagreement } = replay;
    match disagreement {
        Some(Disagreement { step: 0, character, what }) => {
            format!("Replay: the chosen cascade does not agree, on {character:?} inputs: {what}.")
        }
        Some(Disagreement { step, character, what }) => {
            format!("Replay: step {step} does not hold, on {character:?} inputs: {what}.")
        }
        None => {
            let mut text = format!("Replay: {cascades} cascades agree in {comparisons} comparisons");
            if *together > 0 {
                text += &format!("; {together} steps were run together with the next");
            }
            text + "."
        }
    }
}

fn replay_json(replay: &Replay) -> Value {
    let disagreement = replay
        .disagreement
        .as_ref()
        .map(|it| json!({ "step": it.step, "inputs": format!("{:?}", it.character), "what": it.what }));
    json!({
        "cascades": replay.cascades, "together": replay.together, "comparisons": replay.comparisons,
        "disagreement": disagreement,
    })
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("text can grow");
}
