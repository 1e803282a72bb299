//! The intermediate forms, each a page of types with a verifier, a printer and an interpreter.

pub mod arena;
pub mod array;
pub mod cascade;
pub(crate) mod cover;
pub mod expr;
pub(crate) mod factors;
pub mod interp;
pub(crate) mod late;
pub(crate) mod lives;
pub mod nest;
pub(crate) mod order;
pub mod print;
pub(crate) mod subst;
pub mod verify;
