//! Initiators behind the switch, between an initiator and owners that do what a test needs.

mod harness;

use blockferry_control::api::{MoveReply, PartyAddress, PrepareReply, PrepareRequest, VolumeRole};
use blockferry_iscsi::pdu::{LoginStatus, Stage};
use harness::initiator::{End, HELLO, Owner};
use harness::{Proxy, Storage, Volume, arrangement, free_port, soon};

/// A switch whose volume is at an owner.
struct World {
    proxy: Proxy,
    owner: Owner,
    storage: Storage,
    destination: Storage,
    _state: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let owner = Owner::start().await;
        let volume = Volume::default();
        let storage = Storage::start(&volume, VolumeRole::Owner, 1).await;
        let destination = Storage::start(&volume, VolumeRole::Receiving, 1).await;
        let state = tempfile::tempdir().unwrap();
        let portal = format!("vol=iscsi://{}", owner.portal());
        let proxy = Proxy::start(&state, &[storage.route(), portal]).await;
        Self { proxy, owner, storage, destination, _state: state }
    }

    /// An initiator that has said the whole of its login.
    async fn initiator(&self) -> End {
        let mut initiator = End::connect(&self.proxy.portal).await;
        initiator.request(Stage::Operational, HELLO, false).await;
        initiator
    }

    /// Both ends of a session.
    async fn session(&self) -> (End, End) {
        let mut initiator = self.initiator().await;
        let owner = self.owner.log_in().await;
        assert_eq!(initiator.told().await, LoginStatus::SUCCESS);
        (initiator, owner)
    }

    /// The volume is at another owner now.
    async fn move_to(&self, owner: &Owner) {
        self.storage.becomes(VolumeRole::Owner, 2);
        let party = PartyAddress { iscsi: Some(owner.portal()), ..self.storage.party() };
        let there = arrangement(2, party);
        let told = self.proxy.control.post("/v1/routes/vol/arrangement", &there);
        let _: MoveReply = soon(told).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_passes_between_an_initiator_and_its_owner_until_one_ends() {
    let world = World::start().await;
    let (mut initiator, mut owner) = world.session().await;
    world.proxy.until("vol", |route| route.initiators == 1).await;
    initiator.say(b"a command").await;
    owner.expect(b"a command").await;
    owner.say(b"its answer").await;
    drop(owner);
    initiator.expect(b"its answer").await;
    initiator.ends().await;
    world.proxy.until("vol", |route| route.initiators == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_owner_sends_a_login_the_switch_goes_by_itself() {
    let (world, elsewhere) = (World::start().await, Owner::start().await);
    let mut initiator = world.initiator().await;
    let mut former = world.owner.accept().await;
    former.hear().await;
    let there = format!("TargetAddress={},1\0", elsewhere.portal());
    former.answer(false, LoginStatus::MOVED_PERMANENTLY, &there).await;
    let _owner = elsewhere.log_in().await;
    assert_eq!(initiator.told().await, LoginStatus::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_that_send_logins_in_a_circle_are_given_up() {
    let world = World::start().await;
    let circle = async {
        loop {
            let mut owner = world.owner.accept().await;
            owner.hear().await;
            let here = format!("TargetAddress={}\0", world.owner.portal());
            owner.answer(false, LoginStatus::MOVED_TEMPORARILY, &here).await;
        }
    };
    let initiator = async {
        let mut initiator = world.initiator().await;
        assert_eq!(initiator.told().await, LoginStatus::SERVICE_UNAVAILABLE);
    };
    tokio::select! {
        () = circle => {}
        () = initiator => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_moves_during_a_login_costs_the_initiator_another_login_and_no_detour() {
    let (world, elsewhere) = (World::start().await, Owner::start().await);
    let mut initiator = world.initiator().await;
    let mut owner = world.owner.accept().await;
    owner.hear().await;
    owner.answer(false, LoginStatus::SUCCESS, "AuthMethod=None\0").await;
    assert_eq!(initiator.told().await, LoginStatus::SUCCESS);
    initiator.request(Stage::Operational, "MaxConnections=1\0", false).await;
    owner.hear().await;
    let there = format!("TargetAddress={}\0", elsewhere.portal());
    owner.answer(false, LoginStatus::MOVED_PERMANENTLY, &there).await;
    initiator.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_whose_text_takes_two_requests_reaches_the_owner_whole() {
    let world = World::start().await;
    let mut initiator = End::connect(&world.proxy.portal).await;
    let (first, second) = HELLO.split_at(20);
    initiator.request(Stage::Operational, first, true).await;
    assert_eq!(initiator.told().await, LoginStatus::SUCCESS);
    initiator.request(Stage::Operational, second, false).await;
    let mut owner = world.owner.accept().await;
    let begun = owner.hear().await;
    owner.answer(false, LoginStatus::SUCCESS, "").await;
    let ended = owner.hear().await;
    owner.answer(true, LoginStatus::SUCCESS, "").await;
    assert_eq!([&begun.data[..], &ended.data[..]].concat(), HELLO.as_bytes());
    assert_eq!(initiator.told().await, LoginStatus::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_owner_refuses_the_initiator_is_told_as_it_is() {
    let world = World::start().await;
    let mut initiator = world.initiator().await;
    let mut owner = world.owner.accept().await;
    owner.hear().await;
    owner.answer(false, LoginStatus::AUTHENTICATION_FAILED, "").await;
    assert_eq!(initiator.told().await, LoginStatus::AUTHENTICATION_FAILED);
    initiator.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_that_hangs_keeps_no_initiator_and_the_new_one_is_left_alone() {
    let (world, new) = (World::start().await, Owner::start().await);
    let (mut initiator, _hangs) = world.session().await;
    world.move_to(&new).await;
    let mut later = world.initiator().await;
    let mut owner = new.log_in().await;
    assert_eq!(later.told().await, LoginStatus::SUCCESS);
    initiator.ends().await;
    later.say(b"a command").await;
    owner.expect(b"a command").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_initiators_could_not_follow_to_is_no_candidate() {
    let (world, new) = (World::start().await, Owner::start().await);
    let prepare = async |iscsi: Option<String>| {
        let candidate = PartyAddress { iscsi, ..world.destination.party() };
        let (migration, export) = ("00".repeat(16), "vol".to_owned());
        let request = PrepareRequest { migration, export, candidate, announce_only: false };
        let told = world.proxy.control.post("/v1/routes/vol/prepare", &request);
        let reply: PrepareReply = soon(told).await.unwrap();
        reply.problems.join("; ")
    };
    let nobody = format!("127.0.0.1:{}", free_port());
    assert_eq!(prepare(Some(nobody.clone())).await, "", "there are no initiators");
    let _session = world.session().await;
    world.proxy.until("vol", |route| route.initiators == 1).await;
    assert_eq!(prepare(Some(new.portal())).await, "");
    assert!(prepare(Some(nobody.clone())).await.contains(&nobody));
    assert!(prepare(None).await.contains("initiators could not follow"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_volume_has_gone_its_initiators_are_sent_after_a_restart_too() {
    let (world, new) = (World::start().await, Owner::start().await);
    world.move_to(&new).await;
    let World { proxy, owner, storage, destination, _state } = world;
    proxy.stop().await;
    let configured = [storage.route(), format!("vol=iscsi://{}", owner.portal())];
    let proxy = Proxy::start(&_state, &configured).await;
    let world = World { proxy, owner, storage, destination, _state };
    let mut initiator = world.initiator().await;
    let _owner = new.log_in().await;
    assert_eq!(initiator.told().await, LoginStatus::SUCCESS);
}
