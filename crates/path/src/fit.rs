//! Whether a server can take the place of another under a client that has negotiated already.

use blockferry_device::DeviceInfo;

/// What a client would notice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Another size.
    #[error("its volume has {found} bytes, the client's has {expected}")]
    Size {
        /// What the client was told.
        expected: u64,
        /// What the server offers.
        found: u64,
    },
    /// The server cannot do all that the client was promised.
    #[error("it does not offer {0}, which the client was promised")]
    Feature(&'static str),
    /// Requests that the client may send are too small.
    #[error("its smallest block is {found} bytes, the client may use {expected}")]
    BlockSize {
        /// What the client was told.
        expected: u32,
        /// What the server asks for.
        found: u32,
    },
    /// Requests that the client may send are too large.
    #[error("it takes payloads up to {found} bytes, the client may send {expected}")]
    Payload {
        /// What the client was told.
        expected: u32,
        /// What the server takes.
        found: u32,
    },
}

/// Checks that a server can serve a client which was told `promised`.
///
/// # Errors
/// The first difference that the client would notice.
pub fn fits(promised: &DeviceInfo, found: &DeviceInfo) -> Result<(), Misfit> {
    if promised.size != found.size {
        return Err(Misfit::Size { expected: promised.size, found: found.size });
    }
    if found.block_size_min > promised.block_size_min {
        let (expected, found) = (promised.block_size_min, found.block_size_min);
        return Err(Misfit::BlockSize { expected, found });
    }
    if found.payload_max < promised.payload_max {
        let (expected, found) = (promised.payload_max, found.payload_max);
        return Err(Misfit::Payload { expected, found });
    }
    let mut missing = promised.features.missing_in(found.features);
    missing.next().map_or(Ok(()), |name| Err(Misfit::Feature(name)))
}

#[cfg(test)]
mod tests {
    use blockferry_device::Features;

    use super::*;

    const PLAIN: Features = Features {
        read_only: false,
        flush: true,
        fua: false,
        trim: false,
        write_zeroes: false,
        fast_zero: false,
        cache: false,
        block_status: false,
        multi_conn: false,
        rotational: false,
    };

    #[test]
    fn a_server_that_offers_more_fits() {
        let promised = DeviceInfo::new(1 << 20, PLAIN);
        let more = Features { trim: true, rotational: true, ..PLAIN };
        assert_eq!(fits(&promised, &DeviceInfo::new(1 << 20, more)), Ok(()));
    }

    #[test]
    fn each_difference_that_a_client_would_notice_is_named() {
        let promised = DeviceInfo::new(1 << 20, PLAIN);
        let smaller = DeviceInfo { size: 512, ..promised };
        let coarser = DeviceInfo { block_size_min: 512, ..promised };
        let narrower = DeviceInfo { payload_max: 4096, ..promised };
        let read_only = DeviceInfo::new(1 << 20, Features { read_only: true, ..PLAIN });
        let no_flush = DeviceInfo::new(1 << 20, Features { flush: false, ..PLAIN });
        let expected = promised.size;
        assert_eq!(fits(&promised, &smaller), Err(Misfit::Size { expected, found: 512 }));
        assert_eq!(fits(&promised, &coarser), Err(Misfit::BlockSize { expected: 1, found: 512 }));
        let expected = promised.payload_max;
        assert_eq!(fits(&promised, &narrower), Err(Misfit::Payload { expected, found: 4096 }));
        assert_eq!(fits(&promised, &read_only), Err(Misfit::Feature("writing")));
        assert_eq!(fits(&promised, &no_flush), Err(Misfit::Feature("flush")));
    }
}
