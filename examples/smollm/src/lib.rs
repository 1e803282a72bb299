//! SmolLM2-135M-Instruct on candle, with an [`Attention`] that can be exchanged.
//!
//! [`gguf`] opens the model file, [`model`] is the network, [`attention`] what it delegates, [`chat`] turns a question
//! into tokens and tokens into text, [`greedy`] chooses one token after the other.

pub mod attention;
pub mod chat;
pub mod gguf;
pub mod greedy;
pub mod model;

pub use attention::Attention;
pub use chat::Chat;
pub use gguf::Gguf;
pub use greedy::Greedy;
pub use model::Model;
