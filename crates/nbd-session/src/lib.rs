//! NBD sessions over real sockets: the serving side and the client side.
