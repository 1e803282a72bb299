//! Hand-built nests against the host.

mod build;
mod dtypes;
mod entry;
mod scalars;
mod tiles;
