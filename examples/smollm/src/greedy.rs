//! Greedy decoding: the most likely token, again and again.

use anyhow::{Context, Result};

use crate::model::Cache;
use crate::{Attention, Model};

/// An endless sequence of tokens, each with the logits that it was chosen from.
pub struct Greedy<'a> {
    model: &'a Model,
    attention: &'a mut dyn Attention,
    cache: Cache,
    /// What the model has not seen yet: the prompt, then the token chosen last.
    pending: Vec<u32>,
}

/// One chosen token.
pub struct Step {
    /// The token with the largest logit; of equals, the first.
    pub token: u32,
    /// One logit for each token of the vocabulary.
    pub logits: Vec<f32>,
}

impl<'a> Greedy<'a> {
    /// Continues `prompt`; at most `max_tokens` steps may be taken.
    pub fn new(
        model: &'a Model,
        attention: &'a mut dyn Attention,
        prompt: Vec<u32>,
        max_tokens: usize,
    ) -> Result<Self> {
        let cache = model.cache(prompt.len() + max_tokens)?;
        Ok(Self { model, attention, cache, pending: prompt })
    }

    fn step(&mut self) -> Result<Step> {
        let logits = self.model.forward(&self.pending, &mut self.cache, self.attention)?;
        let first_largest = |best: usize, at: usize| if logits[at] > logits[best] { at } else { best };
        let token = (0..logits.len()).reduce(first_largest).context("the vocabulary is empty")? as u32;
        self.pending = vec![token];
        Ok(Step { token, logits })
    }
}

impl Iterator for Greedy<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.step())
    }
}
