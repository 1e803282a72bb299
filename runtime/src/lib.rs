//! The runtime of attnc.
