//! The command line of attnc.
fn main() {}
