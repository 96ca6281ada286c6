//! Initiators, whose logins go to their volume's owner.
//!
//! An initiator survives the end of its connection: it logs in again and sends again what was not
//! answered. So its connection is not kept over a move: it is joined to one to the owner, byte by byte,
//! and the owner's request to log out passes through like everything else. Only the login is looked at:
//! what it is for decides where it goes, and where the owner sends it elsewhere, the switch goes there
//! itself, so that the initiator stays with the switch. Who it is, is for the owner to judge.

mod guests;
mod passage;
mod portal;
mod upstream;

pub(crate) use guests::Guests;
pub(crate) use portal::Portal;
pub(crate) use upstream::reach;
