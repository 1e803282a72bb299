//! Answers a question: `smollm "What is the capital of France?"`.

use std::env::set_var;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use smollm::{Attention, Chat, Gguf, Greedy, Model, attention};

/// Answers a question with SmolLM2-135M-Instruct.
#[derive(Parser)]
struct Options {
    /// What to ask
    question: String,
    /// What computes the attention
    #[arg(long, value_enum, default_value_t = By::Attnc)]
    attention: By,
    /// Where the answer stops if it has not ended before
    #[arg(long, default_value_t = 128)]
    max_tokens: usize,
    /// Threads, all cores if absent
    #[arg(long)]
    threads: Option<usize>,
    /// The model file, the one that `fetch.sh` gets if absent
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// The implementations of attention.
#[derive(Clone, Copy, ValueEnum)]
enum By {
    /// Kernels compiled by attnc
    Attnc,
    /// Candle's own operations
    Candle,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(threads) = options.threads {
        // SAFETY: no other thread runs yet, so none reads the environment.
        unsafe { set_var("RAYON_NUM_THREADS", threads.to_string()) };
    }
    let path = options.model.clone().unwrap_or_else(Gguf::default_path);
    ensure!(path.exists(), "there is no model at `{}`; fetch.sh gets it", path.display());
    let mut gguf = Gguf::open(&path)?;
    let chat = Chat::load(&gguf)?;
    let model = Model::load(&mut gguf)?;
    match options.attention {
        By::Attnc => answer(&options, &chat, &model, &mut attention::Attnc::default()),
        By::Candle => answer(&options, &chat, &model, &mut attention::Candle),
    }
}

/// Prints the answer as it grows, and how long it took.
fn answer(options: &Options, chat: &Chat, model: &Model, attention: &mut dyn Attention) -> Result<()> {
    let mut tokens = Vec::new();
    let mut shown = 0;
    let mut start = Instant::now();
    let steps = Greedy::new(model, attention, chat.ask(&options.question)?, options.max_tokens)?;
    for step in steps.take(options.max_tokens) {
        let token = step?.token;
        if tokens.is_empty() {
            eprintln!("[prefill {:.0} ms]", start.elapsed().as_secs_f64() * 1e3);
            start = Instant::now();
        }
        if token == chat.end() {
            break;
        }
        tokens.push(token);
        let text = chat.text(&tokens)?;
        // A character may need several tokens; it is shown when it is complete.
        if let Some(new) = text.get(shown..).filter(|new| !new.ends_with('\u{fffd}')) {
            print!("{new}");
            stdout().flush()?;
            shown = text.len();
        }
    }
    println!();
    eprintln!("[decode {:.1} tokens/s]", tokens.len() as f64 / start.elapsed().as_secs_f64());
    Ok(())
}
