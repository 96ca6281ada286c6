//! The control API: its types, its client and what its servers share.

pub mod api;
