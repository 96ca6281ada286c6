//! The rest of a login, and everything after it, between an initiator and the owner.

use std::io;

use blockferry_iscsi::pdu::{LoginResponse, LoginStatus, Stage};
use blockferry_iscsi::{Pdu, redirect};
use blockferry_iscsi_session::LoginEnd;
use blockferry_net::join;
use tokio::io::AsyncWriteExt;

use super::upstream::{Side, status};

/// How a login ended that the owner has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is a session.
    LoggedIn,
    /// The owner has refused it, and the initiator knows.
    Refused(LoginStatus),
    /// The volume has gone elsewhere meanwhile; the initiator was not told, and comes again.
    Moved,
}

/// Passes a login on until it has ended, beginning with the owner's answer.
///
/// # Errors
/// When either side breaks the protocol or its connection.
pub(crate) async fn finish_login(
    initiator: &mut Side,
    owner: &mut Side,
    first: Pdu,
) -> Result<Outcome, LoginEnd> {
    let mut answer = first;
    loop {
        if redirect(&answer).is_some() {
            return Ok(Outcome::Moved);
        }
        initiator.say(&answer).await?;
        match status(&answer) {
            Some(LoginStatus::SUCCESS) if is_last(&answer) => return Ok(Outcome::LoggedIn),
            Some(LoginStatus::SUCCESS) => {}
            other => return Ok(Outcome::Refused(other.unwrap_or(LoginStatus::INVALID_REQUEST))),
        }
        let request = initiator.hear().await?;
        owner.say(&request).await?;
        answer = owner.hear().await?;
    }
}

fn is_last(answer: &Pdu) -> bool {
    let LoginResponse { transit, next, .. } = LoginResponse::decode(&answer.header);
    transit && next == Stage::FullFeature
}

/// Passes everything on until one side has ended.
///
/// # Errors
/// What the operating system says, as when a connection breaks.
pub(crate) async fn pass_on(initiator: &mut Side, owner: &mut Side) -> io::Result<()> {
    owner.stream.write_all_buf(&mut initiator.unread).await?;
    initiator.stream.write_all_buf(&mut owner.unread).await?;
    join(&initiator.stream, &owner.stream).await
}
