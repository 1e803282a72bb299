//! SmolLM2's chat format: a question -> tokens, tokens -> text.

use anyhow::{Result, anyhow};
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

use crate::Gguf;

/// The system prompt of the model's own chat template.
const SYSTEM: &str = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

/// The tokenizer of a model file and the marks of its chat format.
pub struct Chat {
    tokenizer: Tokenizer,
    end: u32,
}

impl Chat {
    /// Builds the tokenizer from the vocabulary and the merges in the file.
    pub fn load(gguf: &Gguf) -> Result<Self> {
        let mut tokenizer = Tokenizer::from_gguf(gguf.content())?;
        // candle splits like GPT-2; SmolLM's splitter, `smollm` in the file, also parts every digit from its neighbours.
        let gpt2 = ByteLevel::new(false, true, true);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![Digits::new(true).into(), gpt2.into()])));
        Ok(Self { tokenizer, end: gguf.size("tokenizer.ggml.eos_token_id")? as u32 })
    }

    /// The conversation up to where the assistant answers `question`.
    pub fn ask(&self, question: &str) -> Result<Vec<u32>> {
        let text = format!(
            "<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        );
        let encoding = self.tokenizer.encode(text, false).map_err(|e| anyhow!("cannot tokenize: {e}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The token that ends an answer.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The text of an answer, without marks.
    pub fn text(&self, answer: &[u32]) -> Result<String> {
        self.tokenizer.decode(answer, true).map_err(|e| anyhow!("cannot decode: {e}"))
    }
}
