//! The raw calls that nothing safe wraps: a mapping, `MSG_ZEROCOPY`'s error queue, device features, counters of the
//! kernel, io_uring. The only `unsafe` of this program; each block says why it is sound.
#![expect(unsafe_code, reason = "what is here has no safe wrapper elsewhere")]

mod ethtool;
mod mapping;
mod namespace;
mod perf;
mod ring;
mod tcpinfo;
mod usage;
mod zerocopy;

pub use ethtool::{Feature, set_feature};
pub use mapping::Mapping;
pub use namespace::unshare;
pub use perf::{Counter, Tracepoint};
pub use ring::Ring;
pub use tcpinfo::sent_again;
pub use usage::{Usage, micro};
pub use zerocopy::{completion, enable_zerocopy};

/// The error of a call of libc that returned a negative number.
fn checked(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
