//! Container images without a container engine.
//!
//! An [`Image`] is some [`Layer`]s and a configuration. It is written as a Docker archive, which `docker load`,
//! `kind load image-archive` and `ctr images import` read, or into an OCI image layout. All times are 0 and all files
//! belong to root, so the same files make the same bytes.

mod digest;
mod layer;
mod manifest;
mod tar;

pub use layer::{Content, Layer};
pub use manifest::{Image, Written, write_layout};
