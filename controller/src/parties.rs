//! The programs that take part in a migration, each asked through its control address.
//!
//! Only the messages are here, one method each; when to send them is decided elsewhere.

use std::time::Duration;

use blockferry_block::VolumeName;
use blockferry_control::api::{
    AbortRequest, Arrangement, CommitReply, CommitRequest, CopyReply, CopyRequest, Initiators,
    MoveReply, OwnReply, OwnRequest, PauseRequest, PrepareReply, PrepareRequest, ProgramStatus,
    PromoteRequest, ReadyReply, ReadyRequest, ReceiveReply, ReceiveRequest, RetireReply,
    RouteStatus, SendReply, SendRequest, SettleReply, SettleRequest, TermReply, TermRequest,
    VerifyReply, VerifyRequest, VolumeStatus,
};
use blockferry_control::{BearerToken, ControlAddress, ControlClient, ControlError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long a question may take that a program answers from memory.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a step may take that creates a volume, or makes a record durable on a busy disk.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the destination may take to flush before it is ready: a slow disk behind a large cache.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// How long the destination may carry the copy before it is asked again: no harm is in that.
const COPY_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

type Answer<T> = Result<T, ControlError>;

/// A storage program, asked about one volume.
#[derive(Debug)]
pub(crate) struct Storage {
    client: ControlClient,
    volume: VolumeName,
}

impl Storage {
    /// The program at `address`.
    pub(crate) fn new(
        address: ControlAddress,
        volume: &VolumeName,
        token: Option<&BearerToken>,
    ) -> Self {
        Self { client: ControlClient::new(address, token), volume: volume.clone() }
    }

    /// Where it is asked.
    pub(crate) fn address(&self) -> &ControlAddress {
        self.client.address()
    }

    /// The program itself.
    pub(crate) async fn program(&self) -> Answer<ProgramStatus> {
        self.client.get_within("/v1/status", STATUS_TIMEOUT).await
    }

    /// The volume; `None` when the program has none of this name.
    pub(crate) async fn status(&self) -> Answer<Option<VolumeStatus>> {
        let path = format!("/v1/volumes/{}", self.volume);
        match self.client.get_within(&path, STATUS_TIMEOUT).await {
            Ok(status) => Ok(Some(status)),
            Err(error) if error.status().is_some_and(|status| status == 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The volume's initiators; `None` where the program serves no iSCSI.
    pub(crate) async fn initiators(&self) -> Answer<Option<Initiators>> {
        let path = format!("/v1/volumes/{}/initiators", self.volume);
        self.client.get_within(&path, STATUS_TIMEOUT).await
    }

    async fn step<B: Serialize, T: DeserializeOwned>(
        &self,
        step: &str,
        body: &B,
        within: Duration,
    ) -> Answer<T> {
        let path = format!("/v1/volumes/{}/{step}", self.volume);
        self.client.post_within(&path, body, within).await
    }

    /// Gives a migration up.
    pub(crate) async fn abort(&self, request: &AbortRequest) -> Answer<()> {
        self.step::<_, Value>("abort", request, STEP_TIMEOUT).await.map(drop)
    }
}

/// The source's own steps.
impl Storage {
    pub(crate) async fn send(&self, request: &SendRequest) -> Answer<SendReply> {
        self.step("send", request, STEP_TIMEOUT).await
    }

    pub(crate) async fn term(&self, request: &TermRequest) -> Answer<TermReply> {
        self.step("term", request, STEP_TIMEOUT).await
    }

    pub(crate) async fn settle(&self, request: &SettleRequest) -> Answer<SettleReply> {
        self.step("settle", request, STEP_TIMEOUT).await
    }

    pub(crate) async fn commit(&self, request: &CommitRequest) -> Answer<CommitReply> {
        self.step("commit", request, STEP_TIMEOUT).await
    }

    pub(crate) async fn pause(&self, request: &PauseRequest) -> Answer<()> {
        self.step::<_, Value>("pause", request, STEP_TIMEOUT).await.map(drop)
    }

    pub(crate) async fn unpause(&self, request: &PauseRequest) -> Answer<()> {
        self.step::<_, Value>("unpause", request, STEP_TIMEOUT).await.map(drop)
    }

    pub(crate) async fn retire(&self) -> Answer<RetireReply> {
        self.step("retire", &Value::Object(Default::default()), STEP_TIMEOUT).await
    }

    pub(crate) async fn verify(&self, request: &VerifyRequest) -> Answer<VerifyReply> {
        self.step("verify", request, STEP_TIMEOUT).await
    }
}

/// The destination's own steps.
impl Storage {
    pub(crate) async fn receive(&self, request: &ReceiveRequest) -> Answer<ReceiveReply> {
        self.step("receive", request, STEP_TIMEOUT).await
    }

    pub(crate) async fn copy(&self, request: &CopyRequest) -> Answer<CopyReply> {
        self.step("copy", request, COPY_TIMEOUT).await
    }

    pub(crate) async fn ready(&self, request: &ReadyRequest) -> Answer<ReadyReply> {
        self.step("ready", request, READY_TIMEOUT).await
    }

    pub(crate) async fn own(&self, request: &OwnRequest) -> Answer<OwnReply> {
        self.step("own", request, STEP_TIMEOUT).await
    }

    pub(crate) async fn promote(&self, request: &PromoteRequest) -> Answer<OwnReply> {
        self.step("promote", request, READY_TIMEOUT).await
    }
}

/// A switch, asked about the route of one volume.
#[derive(Debug)]
pub(crate) struct Switch {
    client: ControlClient,
    volume: VolumeName,
}

impl Switch {
    /// The switch at `address`.
    pub(crate) fn new(
        address: ControlAddress,
        volume: &VolumeName,
        token: Option<&BearerToken>,
    ) -> Self {
        Self { client: ControlClient::new(address, token), volume: volume.clone() }
    }

    /// Where it is asked.
    pub(crate) fn address(&self) -> &ControlAddress {
        self.client.address()
    }

    /// The program itself.
    pub(crate) async fn program(&self) -> Answer<ProgramStatus> {
        self.client.get_within("/v1/status", STATUS_TIMEOUT).await
    }

    /// The volume's route; `None` when there is none of this name.
    pub(crate) async fn route(&self) -> Answer<Option<RouteStatus>> {
        let routes: Vec<RouteStatus> = self.client.get_within("/v1/routes", STATUS_TIMEOUT).await?;
        Ok(routes.into_iter().find(|route| route.name == self.volume.as_str()))
    }

    /// Announces the destination, or opens everything towards it that can fail.
    pub(crate) async fn prepare(&self, request: &PrepareRequest) -> Answer<PrepareReply> {
        let path = format!("/v1/routes/{}/prepare", self.volume);
        self.client.post_within(&path, request, STEP_TIMEOUT).await
    }

    /// Asks to connect the host to the second device instead of the first (D2.6).
    pub(crate) async fn arrange(&self, arrangement: &Arrangement) -> Answer<MoveReply> {
        let path = format!("/v1/routes/{}/arrangement", self.volume);
        self.client.post_within(&path, arrangement, STEP_TIMEOUT).await
    }
}

/// Everybody who takes part in the migration of one volume.
#[derive(Debug)]
pub(crate) struct Parties {
    /// The volume.
    pub(crate) volume: VolumeName,
    /// Where it comes from.
    pub(crate) source: Storage,
    /// Where it goes to.
    pub(crate) destination: Storage,
    /// What its clients come through.
    pub(crate) switches: Vec<Switch>,
}
