//! The model itself: what it says does not depend on how it was asked.

use std::io::{Write, stderr};

use anyhow::Result;
use smollm::greedy::Step;
use smollm::{Attention, Chat, Gguf, Greedy, Model, attention};

const TOKENS: usize = 64;
const PROMPTS: [&str; 3] = [
    "What is the capital of France?",
    "Explain in a few sentences why the sky is blue.",
    "Write a short story about a lighthouse keeper and 12 storms.",
];

/// The model, if `fetch.sh` could get it.
fn model() -> Result<Option<(Chat, Model)>> {
    let path = Gguf::default_path();
    if !path.exists() {
        // Written past the test harness, which hides what a passing test prints.
        writeln!(stderr(), "SKIP: no model at {}; run fetch.sh", path.display())?;
        return Ok(None);
    }
    let mut gguf = Gguf::open(&path)?;
    Ok(Some((Chat::load(&gguf)?, Model::load(&mut gguf)?)))
}

fn answer(model: &Model, attention: &mut dyn Attention, prompt: &[u32]) -> Result<Vec<Step>> {
    Greedy::new(model, attention, prompt.to_vec(), TOKENS)?.take(TOKENS).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Decoding token by token over a cache gives the logits of reading everything at once.
#[test]
fn a_cache_changes_nothing() -> Result<()> {
    let Some((chat, model)) = model()? else { return Ok(()) };
    let mut attention = attention::Candle;
    let prompt = chat.ask(PROMPTS[0])?;
    let steps = answer(&model, &mut attention, &prompt)?;
    let mut whole = prompt;
    whole.extend(steps.iter().map(|step| step.token));
    for (at, step) in steps.iter().enumerate().step_by(21) {
        let seen = &whole[..whole.len() - TOKENS + at];
        let logits = model.forward(seen, &mut model.cache(seen.len())?, &mut attention)?;
        let difference = largest_difference(&logits, &step.logits);
        assert!(difference < 1e-2, "token {at}: the logits differ by {difference}");
        writeln!(stderr(), "token {at}: the logits differ by {difference:.1e}")?;
    }
    Ok(())
}
