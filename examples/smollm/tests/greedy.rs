//! The model itself: what it says does not depend on how it was asked.

use std::io::{Write, stderr};

use anyhow::Result;
use smollm::greedy::Step;
use smollm::{Attention, Chat, Gguf, Greedy, Model, attention};

const TOKENS: usize = 64;
/// What rounding may do to a logit.
const DRIFT: f32 = 1e-3;
/// Two tokens whose logits differ by less are as likely as each other.
const TIE: f32 = 1e-3;
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

/// Attention by attnc leads to the tokens that candle's leads to; where they part, both tokens were as likely.
#[test]
fn attnc_says_what_candle_says() -> Result<()> {
    let Some((chat, model)) = model()? else { return Ok(()) };
    for question in PROMPTS {
        let prompt = chat.ask(question)?;
        let candle = answer(&model, &mut attention::Candle, &prompt)?;
        let attnc = answer(&model, &mut attention::Attnc::default(), &prompt)?;
        let mut largest = 0f32;
        let mut same = 0;
        for (candle, attnc) in candle.iter().zip(&attnc) {
            largest = largest.max(largest_difference(&candle.logits, &attnc.logits));
            let [theirs, ours] = [candle.token, attnc.token].map(|token| token as usize);
            if ours != theirs {
                for logits in [&candle.logits, &attnc.logits] {
                    let gap = (logits[theirs] - logits[ours]).abs();
                    assert!(gap < TIE, "{question} token {same}: {ours} instead of {theirs}, {gap} apart");
                }
                break;
            }
            same += 1;
        }
        writeln!(stderr(), "{question} {same} of {TOKENS} tokens agree, logits within {largest:.1e}")?;
        assert!(largest < DRIFT, "{question}: the logits differ by {largest}");
    }
    Ok(())
}

/// Decoding token by token over a cache gives the logits of reading everything at once.
#[test]
fn a_cache_changes_nothing() -> Result<()> {
    let Some((chat, model)) = model()? else { return Ok(()) };
    let attentions: [&mut dyn Attention; 2] = [&mut attention::Candle, &mut attention::Attnc::default()];
    for attention in attentions {
        let prompt = chat.ask(PROMPTS[0])?;
        let steps = answer(&model, attention, &prompt)?;
        let mut seen = prompt;
        for (at, step) in steps.iter().enumerate() {
            if at % 16 == 15 {
                let whole = model.forward(&seen, &mut model.cache(seen.len())?, attention)?;
                let difference = largest_difference(&whole, &step.logits);
                assert!(difference < DRIFT, "after {at} tokens the logits differ by {difference}");
            }
            seen.push(step.token);
        }
    }
    Ok(())
}
