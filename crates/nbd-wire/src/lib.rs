//! The NBD protocol without sockets: handshakes, requests and replies, both sides.
