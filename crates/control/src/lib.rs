//! What the programs say to each other besides blocks: HTTP/JSON on control addresses. The client,
//! what every server of it shares, and the settings that all programs spell alike (addresses,
//! sizes, folders, logs, open files).
//!
//! It knows nothing of what the messages bring about: handlers belong to the programs, and only
//! the messages' types are kept here, in [`api`], since both ends need them.

pub mod api;
pub mod files;
pub mod folder;
pub mod log;
pub mod openapi;

mod address;
mod api_error;
mod client;
mod connection;
mod error;
mod guard;
mod listen;
mod server;
mod size;
mod token;

pub use address::{AddressError, ControlAddress, HostPort, ListenAddress};
pub use api_error::ApiError;
pub use client::{ControlClient, REQUEST_TIMEOUT};
pub use error::ControlError;
pub use guard::BODY_MAX;
pub use listen::{ListenError, Listener, Stream};
pub use server::{ControlServer, StartError};
pub use size::{SizeError, parse_rate, parse_size};
pub use token::{BearerToken, TokenError};
