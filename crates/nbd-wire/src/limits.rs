//! A limit on everything a peer can send, with its unit and its reason.

/// Longest string (name, description, error text, query), in bytes ("Conventions").
pub const STRING_BYTES_MAX: usize = 4096;

/// Options in one handshake; a client with more is dropped. Real clients need fewer than ten.
pub const OPTIONS_MAX: u32 = 32;

/// Data of one option, in bytes; a client that announces more is dropped before it is read. Two
/// strings of the longest kind fit.
pub const OPTION_BYTES_MAX: u32 = 8 << 10;

/// Queries in one `LIST_META_CONTEXT` or `SET_META_CONTEXT`.
pub const META_QUERIES_MAX: u32 = 16;

/// Data of one option reply, in bytes, as a client accepts it: a name and a description.
pub const OPTION_REPLY_BYTES_MAX: u32 = 16 << 10;

/// Option replies that a client accepts to one option other than `LIST`.
pub const OPTION_REPLIES_MAX: u32 = 64;

/// Exports that a client accepts in one list.
pub const LIST_ENTRIES_MAX: u32 = 10_000;

/// Largest export that a client accepts, in bytes: offsets of files are signed.
pub const EXPORT_BYTES_MAX: u64 = i64::MAX as u64;

/// Largest minimum block size that a server may ask for, in bytes ("Size constraints").
pub const BLOCK_SIZE_MIN_MAX: u32 = 1 << 16;

/// Descriptors in one block status chunk; the specification's own limit.
pub const STATUS_DESCRIPTORS_MAX: usize = 1 << 20;

/// Chunks in one reply: a 32 MiB read in pieces of 512 bytes, and some for errors and the end.
pub const REPLY_CHUNKS_MAX: u32 = (1 << 16) + 64;

/// Payload of an error chunk of a type that this client does not know, in bytes: the longest text
/// and some fixed fields.
pub const ERROR_CHUNK_BYTES_MAX: u64 = 6 + STRING_BYTES_MAX as u64 + 64;

/// Longest arrangement address in a role claim, in bytes.
pub const ARRANGEMENT_BYTES_MAX: usize = 512;
