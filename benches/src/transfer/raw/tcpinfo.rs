//! What TCP says about a connection.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use super::checked;

/// How many packets a connection sent again, because the first was lost or came where there was no room.
pub fn sent_again(socket: impl AsFd) -> io::Result<u64> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel fills at most `length` bytes of `info`; both outlive the call.
    checked(unsafe {
        libc::getsockopt(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    })?;
    // SAFETY: zeroed before, and all of it plain numbers.
    Ok(unsafe { info.assume_init() }.tcpi_total_retrans.into())
}
