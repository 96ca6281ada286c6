//! What a worker has bound by itself, and the next one binds again: others know the switch there.

use blockferry_control::ListenAddress;
use blockferry_net::Address;

/// Between the two addresses, of which none has it.
const SEPARATOR: char = '\n';

/// The addresses with the ports that were picked, as the keeper passes them on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Of the control API.
    pub(crate) control: Option<ListenAddress>,
    /// Of the portal for initiators.
    pub(crate) iscsi: Option<Address>,
}

impl Bound {
    /// What another worker has said; what makes no sense is left out.
    pub(crate) fn read(text: &str) -> Self {
        let (control, iscsi) = text.split_once(SEPARATOR).unwrap_or((text, ""));
        Self { control: control.parse().ok(), iscsi: iscsi.parse().ok() }
    }

    /// For another worker.
    pub(crate) fn write(&self) -> String {
        let control = self.control.as_ref().map(ToString::to_string).unwrap_or_default();
        let iscsi = self.iscsi.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{control}{SEPARATOR}{iscsi}")
    }

    /// Where the control API is to listen, which is wanted there; port 0 is the port that was picked.
    pub(crate) fn control_at(&self, wanted: &ListenAddress) -> ListenAddress {
        match (wanted, &self.control) {
            (ListenAddress::Tcp(any), Some(ListenAddress::Tcp(last)))
                if (any.port(), any.host()) == (0, last.host()) =>
            {
                ListenAddress::Tcp(last.clone())
            }
            _ => wanted.clone(),
        }
    }

    /// The same for initiators.
    pub(crate) fn iscsi_at(&self, wanted: &Address) -> Address {
        match (wanted, &self.iscsi) {
            (Address::Tcp(host, 0), Some(last @ Address::Tcp(was, _))) if host == was => {
                last.clone()
            }
            _ => wanted.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_worker_is_where_the_last_one_was_unless_another_port_is_wanted() {
        let control = Some("127.0.0.1:5000".parse().unwrap());
        let iscsi = Some("127.0.0.1:3261".parse().unwrap());
        let last = Bound { control, iscsi };
        assert_eq!(Bound::read(&last.write()), last);
        assert_eq!(last.iscsi_at(&"127.0.0.1:0".parse().unwrap()).to_string(), "127.0.0.1:3261");
        assert_eq!(last.iscsi_at(&"127.0.0.1:9".parse().unwrap()).to_string(), "127.0.0.1:9");
        let control = last.control_at(&"127.0.0.1:0".parse().unwrap());
        assert_eq!(control.to_string(), "127.0.0.1:5000");
        assert_eq!(Bound::read(""), Bound::default());
    }
}
