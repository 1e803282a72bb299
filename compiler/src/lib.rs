//! The compiler of attnc.
