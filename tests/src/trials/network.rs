//! A network of a trial's own: each program in a network namespace, all joined by a bridge. This
//! process is at the bridge, and has to be in a namespace of its own itself ([`Network::enter`]).
//!
//! A direction is cut by a false entry for the receiver among the sender's neighbours: what is sent
//! goes nowhere, as on a broken wire, and TCP does what it does.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result, bail, ensure};

use super::trial::{Fault, Party};

/// Set where this process is in a namespace of its own.
const ENTERED: &str = "BLOCKFERRY_TRIALS_NETWORK";

/// A hardware address that nobody has.
const NOBODY: &str = "02:00:00:00:00:fe";

const PARTIES: [Party; 4] = [Party::Source, Party::Destination, Party::Switch, Party::Controller];

/// See the module. Its namespaces go with it.
pub(super) struct Network {
    number: u8,
}

/// Starts this program again in a namespace of its own, unless it is in one. Comes back only if it is.
///
/// # Errors
/// When there can be none: without root, say.
pub fn enter() -> Result<()> {
    if env::var_os(ENTERED).is_some() {
        return Ok(());
    }
    let own = env::current_exe().context("the path of this program")?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]).arg(own).args(env::args_os().skip(1)).env(ENTERED, "1");
    Err(command.exec()).context("unshare --net --mount, which needs root")
}

impl Network {
    /// Makes one.
    pub(super) fn new() -> Result<Self> {
        ensure!(env::var_os(ENTERED).is_some(), "this process is in the machine's own network");
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let network = Self { number: NEXT.fetch_add(1, Ordering::Relaxed) };
        let bridge = format!("bridge{}", network.number);
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("link set {bridge} up"))?;
        ip(&format!("addr add {}/24 dev {bridge}", network.host(254)))?;
        for party in PARTIES {
            let (name, port) = (network.name(party), format!("port{}-{party}", network.number));
            // Names of interfaces are short.
            let port = &port[..port.len().min(15)];
            ip(&format!("netns add {name}"))?;
            ip(&format!("link add {port} type veth peer name eth0 netns {name}"))?;
            ip(&format!("link set {port} master {bridge} up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} addr add {}/24 dev eth0", network.address(party)))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        Ok(network)
    }

    /// What a party's program runs under.
    pub(super) fn under(&self, party: Party) -> Vec<String> {
        ["ip", "netns", "exec", &self.name(party)].map(str::to_owned).to_vec()
    }

    /// A party's IP address.
    pub(super) fn address(&self, party: Party) -> String {
        let at = PARTIES.iter().position(|one| *one == party).unwrap_or_default();
        self.host(at + 1)
    }

    /// Cuts a party off, until [`Network::heal`].
    pub(super) fn cut(&self, party: Party, fault: Fault) -> Result<()> {
        let (mute, deaf) = match fault {
            Fault::Mute => (true, false),
            Fault::Deaf => (false, true),
            Fault::Silence | Fault::Vanish => (true, true),
            other => bail!("there is no {other} in a network of one's own"),
        };
        for other in PARTIES.into_iter().filter(|other| *other != party) {
            if mute {
                self.mislead(party, other)?;
            }
            if deaf {
                self.mislead(other, party)?;
            }
        }
        Ok(())
    }

    fn mislead(&self, from: Party, to: Party) -> Result<()> {
        let (name, to) = (self.name(from), self.address(to));
        ip(&format!("-n {name} neigh replace {to} lladdr {NOBODY} dev eth0 nud permanent"))
    }

    /// The network is whole again.
    pub(super) fn heal(&self) -> Result<()> {
        PARTIES.iter().try_for_each(|party| {
            ip(&format!("-n {} neigh flush dev eth0 nud permanent", self.name(*party)))
        })
    }

    fn host(&self, host: usize) -> String {
        format!("10.77.{}.{host}", self.number)
    }

    fn name(&self, party: Party) -> String {
        format!("bf{}-{party}", self.number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Whatever is left is in a namespace that ends with this process.
        let _ = ip(&format!("link del bridge{}", self.number));
        for party in PARTIES {
            let _ = ip(&format!("netns del {}", self.name(party)));
        }
    }
}

fn ip(arguments: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    let output = command.output().context("ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {}", said.trim());
    Ok(())
}
