//! Backing stores: file, block device, memory, remote NBD server.
