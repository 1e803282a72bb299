//! A GGUF file: its metadata, and its tensors in f32.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};
use candle_nn::Linear;

/// An open model file.
pub struct Gguf {
    content: Content,
    file: File,
}

impl Gguf {
    /// Where `fetch.sh` puts the model.
    pub fn default_path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("model/SmolLM2-135M-Instruct.Q4_1.gguf")
    }

    /// Reads the header of the file at `path`; the tensors are read when they are asked for.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
        let content =
            Content::read(&mut file).with_context(|| format!("`{}` is not a GGUF file", path.display()))?;
        Ok(Self { content, file })
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    pub(crate) fn size(&self, key: &str) -> Result<usize> {
        Ok(self.value(key)?.to_u32()? as usize)
    }

    pub(crate) fn real(&self, key: &str) -> Result<f32> {
        Ok(self.value(key)?.to_f32()?)
    }

    /// The tensor `name` in f32.
    ///
    /// A quantised product would round its input to eight bits too: that is slow without vector code for the format
    /// (Q4_1 has none), and it turns a difference in the last bit of an attention into one in the third digit.
    pub(crate) fn tensor(&mut self, name: &str) -> Result<Tensor> {
        let tensor = self.content.tensor(&mut self.file, name, &Device::Cpu);
        let tensor = tensor.with_context(|| format!("the model file lacks the tensor `{name}`"))?;
        Ok(tensor.dequantize(&Device::Cpu)?)
    }

    /// A matrix to multiply by.
    pub(crate) fn linear(&mut self, name: &str) -> Result<Linear> {
        Ok(Linear::new(self.tensor(name)?, None))
    }

    fn value(&self, key: &str) -> Result<&Value> {
        self.content.metadata.get(key).with_context(|| format!("the model file lacks `{key}`"))
    }
}
