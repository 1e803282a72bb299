//! The Llama network: tokens -> logits of the token that follows. Everything is candle's but the attention.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::kv_cache::KvCache;
use candle_nn::ops::{rms_norm, silu};
use candle_nn::rotary_emb::rope_i;
use candle_nn::{Embedding, Linear, Module};

use crate::{Attention, Gguf};

/// Extents and constants of a Llama.
#[derive(Clone, Copy, Debug)]
struct Config {
    layers: usize,
    query_heads: usize,
    kv_heads: usize,
    head_dim: usize,
    context: usize,
    rope_base: f32,
    norm_eps: f32,
}

/// The network with its weights.
pub struct Model {
    config: Config,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Linear,
    rope: Rope,
}

/// The keys and values of the tokens seen so far, `[kv_head, token, dim]` for each layer.
pub struct Cache {
    layers: Vec<KvCache>,
}

struct Layer {
    attention_norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    mlp_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// Cosines and sines of every position, `[position, dim / 2]`.
struct Rope {
    cos: Tensor,
    sin: Tensor,
}

impl Model {
    /// Reads the weights.
    pub fn load(gguf: &mut Gguf) -> Result<Self> {
        let config = Config::read(gguf)?;
        let layers = (0..config.layers).map(|layer| Layer::load(gguf, layer)).collect::<Result<_>>()?;
        let embedding = gguf.tensor("token_embd.weight")?;
        Ok(Self {
            config,
            embedding: Embedding::new(embedding.clone(), embedding.dim(1)?),
            layers,
            norm: gguf.tensor("output_norm.weight")?,
            head: Linear::new(embedding, None),
            rope: Rope::new(&config)?,
        })
    }

    /// An empty cache with room for `capacity` tokens.
    pub fn cache(&self, capacity: usize) -> Result<Cache> {
        let context = self.config.context;
        ensure!(capacity <= context, "{capacity} tokens exceed the model's context of {context}");
        Ok(Cache { layers: vec![KvCache::new(1, capacity); self.config.layers] })
    }

    /// Appends `tokens` to the cache and returns the logits of the token that follows the last of them.
    pub fn forward(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        attention: &mut dyn Attention,
    ) -> Result<Vec<f32>> {
        let rope = self.rope.at(cache.len(), tokens.len())?;
        let mut x = self.embedding.forward(&Tensor::new(tokens, &Device::Cpu)?)?;
        for (layer, kv) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.forward(&self.config, &rope, &x, kv, attention)?;
        }
        let last = x.i(tokens.len() - 1..)?;
        let logits = self.head.forward(&rms_norm(&last, &self.norm, self.config.norm_eps)?)?;
        Ok(logits.i(0)?.to_vec1()?)
    }
}

impl Cache {
    fn len(&self) -> usize {
        self.layers.first().map_or(0, KvCache::current_seq_len)
    }
}

impl Config {
    fn read(gguf: &Gguf) -> Result<Self> {
        let query_heads = gguf.size("llama.attention.head_count")?;
        Ok(Self {
            layers: gguf.size("llama.block_count")?,
            query_heads,
            kv_heads: gguf.size("llama.attention.head_count_kv")?,
            head_dim: gguf.size("llama.embedding_length")? / query_heads,
            context: gguf.size("llama.context_length")?,
            rope_base: gguf.real("llama.rope.freq_base")?,
            norm_eps: gguf.real("llama.attention.layer_norm_rms_epsilon")?,
        })
    }
}

impl Layer {
    fn load(gguf: &mut Gguf, layer: usize) -> Result<Self> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        Ok(Self {
            attention_norm: gguf.tensor(&name("attn_norm"))?,
            query: gguf.linear(&name("attn_q"))?,
            key: gguf.linear(&name("attn_k"))?,
            value: gguf.linear(&name("attn_v"))?,
            output: gguf.linear(&name("attn_output"))?,
            mlp_norm: gguf.tensor(&name("ffn_norm"))?,
            gate: gguf.linear(&name("ffn_gate"))?,
            up: gguf.linear(&name("ffn_up"))?,
            down: gguf.linear(&name("ffn_down"))?,
        })
    }

    /// `x` is `[token, channel]`, and so is the result.
    fn forward(
        &self,
        config: &Config,
        rope: &Rope,
        x: &Tensor,
        kv: &mut KvCache,
        attention: &mut dyn Attention,
    ) -> Result<Tensor> {
        let normed = rms_norm(x, &self.attention_norm, config.norm_eps)?;
        let heads = |projection: &Linear, n_heads: usize| -> Result<Tensor> {
            let flat = projection.forward(&normed)?;
            Ok(flat.reshape(((), n_heads, config.head_dim))?.transpose(0, 1)?.contiguous()?)
        };
        let queries = rope.rotate(&heads(&self.query, config.query_heads)?)?;
        let keys = rope.rotate(&heads(&self.key, config.kv_heads)?)?;
        let (keys, values) = kv.append(&keys, &heads(&self.value, config.kv_heads)?)?;
        let x = (x + self.output.forward(&attention.attend(&queries, &keys, &values)?)?)?;

        let normed = rms_norm(&x, &self.mlp_norm, config.norm_eps)?;
        let hidden = (silu(&self.gate.forward(&normed)?)? * self.up.forward(&normed)?)?;
        Ok((x + self.down.forward(&hidden)?)?)
    }
}

impl Rope {
    fn new(config: &Config) -> Result<Self> {
        let half = config.head_dim / 2;
        let frequency = |i: usize| config.rope_base.powf(-(i as f32) / half as f32);
        let frequencies = Tensor::from_iter((0..half).map(frequency), &Device::Cpu)?.reshape((1, half))?;
        let positions = Tensor::arange(0, config.context as u32, &Device::Cpu)?.to_dtype(DType::F32)?;
        let angles = positions.reshape(((), 1))?.matmul(&frequencies)?;
        Ok(Self { cos: angles.cos()?, sin: angles.sin()? })
    }

    /// The rows of `len` positions from `start` on.
    fn at(&self, start: usize, len: usize) -> Result<Self> {
        Ok(Self { cos: self.cos.narrow(0, start, len)?, sin: self.sin.narrow(0, start, len)? })
    }

    /// Rotates `[head, token, dim]`. GGUF files of a Llama hold the two halves of a rotated pair side by side.
    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        Ok(rope_i(&x.unsqueeze(0)?, &self.cos, &self.sin)?.squeeze(0)?)
    }
}
