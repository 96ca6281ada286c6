//! A stock Linux kernel, booted in a VM, has an ext4 file system mounted on its own iSCSI initiator while
//! the volume moves. The guest checks its files, its kernel log, and that it keeps its disk and its
//! session (see `dev/vm/README.md`).

use blockferry_tests::cast::{Cluster, ClusterSpec, Guest, VOLUME, check_file_system};

/// Rounds that begin after the commit, before the guest is told.
const ROUNDS_MOVED: usize = 2;

/// Programs whose volumes a guest reaches over iSCSI, and is sent from the one to the other.
fn for_guests() -> ClusterSpec {
    let advertise = format!("--iscsi-advertise={}", Guest::HOST);
    ClusterSpec::new()
        .with_disks()
        .source(|source| source.with(&advertise))
        .destination(|destination| destination.with(&advertise))
}

/// Two ports: the first, and where the session has to be in the end.
struct Way {
    first: String,
    last: String,
}

impl Way {
    /// The source sends its initiators to the destination.
    fn redirect(cluster: &Cluster) -> Self {
        Self { first: port(cluster.source.portal()), last: port(cluster.destination.portal()) }
    }

    /// The switch passes its logins on.
    async fn switch(cluster: &Cluster) -> Self {
        let switch = port(&cluster.switch.portal().await);
        Self { first: switch.clone(), last: switch }
    }

    fn boot(self, cluster: &Cluster) -> Guest {
        let volume = VOLUME.to_owned();
        let told = [("PORT", self.first), ("PORT_AFTER", self.last), ("EXPORT", volume)];
        Guest::boot("guest-iscsi-move.sh", cluster.scratch.path(), &told)
    }
}

fn port(portal: &str) -> String {
    portal.rsplit(':').next().expect("HOST:PORT").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_6_a_kernel_that_is_sent_to_the_destination_keeps_its_mounted_ext4_on_iscsi() {
    Guest::prepare().await;
    let cluster = for_guests().random(96).await;
    let mut guest = Way::redirect(&cluster).boot(&cluster);
    guest.works_through_a_move(&cluster).await;
    // By its own habit it would wait for two seconds before it logs in again.
    guest.said("reconnect min 0").await;
    guest.works(ROUNDS_MOVED).await;
    guest.passes().await;
    check_file_system(&cluster.copy()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_behind_the_switch_keeps_its_mounted_ext4_on_iscsi_though_the_source_dies() {
    Guest::prepare().await;
    let spec = ClusterSpec::new().with_disks().with_portal_at_switch();
    let spec = spec.switch_with(format!("--iscsi-advertise={}", Guest::HOST));
    let mut cluster = spec.random(96).await;
    let mut guest = Way::switch(&cluster).await.boot(&cluster);
    guest.works_through_a_move(&cluster).await;
    cluster.source.kill9();
    cluster.destination.logged_in(1).await;
    guest.works(ROUNDS_MOVED).await;
    guest.passes().await;
    check_file_system(&cluster.copy()).await;
}

/// Whatever it was told, Linux asks the source again after each loss of its connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_on_iscsi_is_sent_on_again_by_a_source_that_died_after_the_commit_and_came_back() {
    Guest::prepare().await;
    let mut cluster = for_guests().random(96).await;
    let mut guest = Way::redirect(&cluster).boot(&cluster);
    guest.works_through_a_move(&cluster).await;
    cluster.source.kill9();
    cluster.source.restart().await;
    cluster.destination.logged_in(1).await;
    guest.works(1).await;
    cluster.destination.kill9();
    cluster.destination.restart().await;
    cluster.destination.logged_in(1).await;
    guest.works(ROUNDS_MOVED).await;
    guest.passes().await;
    check_file_system(&cluster.copy()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_on_iscsi_logs_in_with_its_secret_and_asks_the_target_for_one() {
    const ACCOUNTS: &str = "[[initiator]]\nname = \"guest\"\nsecret = \"correct-horse-battery\"\n\
        [target]\nname = \"blockferry\"\nsecret = \"another-long-secret\"\n";
    Guest::prepare().await;
    let spec = for_guests();
    let file = spec.scratch.join("accounts");
    std::fs::write(&file, ACCOUNTS).expect("a file");
    let accounts = format!("--iscsi-accounts={}", file.display());
    let cluster = spec.source(|source| source.with(&accounts)).random(16).await;
    let told = [
        ("PORT", port(cluster.source.portal())),
        ("EXPORT", VOLUME.to_owned()),
        ("SECRET", "correct-horse-battery".to_owned()),
        ("TARGET_SECRET", "another-long-secret".to_owned()),
    ];
    let mut guest = Guest::boot("guest-iscsi-logins.sh", cluster.scratch.path(), &told);
    guest.ends_well().await;
}
