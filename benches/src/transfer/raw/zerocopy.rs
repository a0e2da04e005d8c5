//! `MSG_ZEROCOPY`: asking for it, and reading the notices by which the kernel gives pages back.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use super::checked;

/// A notice: the kernel no longer needs the bytes of some calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// How many calls it answers.
    pub calls: u32,
    /// Whether the kernel copied their bytes after all.
    pub copied: bool,
}

/// `SO_EE_ORIGIN_ZEROCOPY` and `SO_EE_CODE_ZEROCOPY_COPIED`, which libc does not name.
const ORIGIN_ZEROCOPY: u8 = 5;
const CODE_COPIED: u8 = 1;

/// Room for the control message of one notice: header, `sock_extended_err`, and the address after it.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Allows `MSG_ZEROCOPY` on a socket. Older kernels and other protocols refuse.
pub fn enable_zerocopy(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the option takes an int, which outlives the call.
    checked(unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_ZEROCOPY,
            (&raw const on).cast(),
            length,
        )
    })?;
    Ok(())
}

/// The next notice of the socket's error queue, which is read without waiting; `None` if there is none yet.
pub fn completion(socket: impl AsFd) -> io::Result<Option<Completion>> {
    let mut control = Control([0; 128]);
    // SAFETY: zero is a valid value of every field.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: `message` has no data buffer, and a control buffer of the length it names; both outlive the call.
    let received = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &mut message, flags) };
    if received < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock {
            Ok(None)
        } else {
            Err(error)
        };
    }
    notice(&message).map(Some)
}

/// The notice in a control message.
fn notice(message: &libc::msghdr) -> io::Result<Completion> {
    // SAFETY: the kernel filled the control buffer that `message` names; the macro stays within its length.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    if header.is_null() {
        return Err(io::Error::other(
            "a message without a notice in the socket's error queue",
        ));
    }
    // SAFETY: a header that lies within the buffer, aligned as `Control` is, followed by the error it announces.
    let error = unsafe {
        libc::CMSG_DATA(header)
            .cast::<libc::sock_extended_err>()
            .read_unaligned()
    };
    if error.ee_origin != ORIGIN_ZEROCOPY {
        return Err(io::Error::from_raw_os_error(error.ee_errno as i32));
    }
    // The calls are numbered; a notice names the first and the last that it answers.
    let calls = error.ee_data.wrapping_sub(error.ee_info).wrapping_add(1);
    Ok(Completion {
        calls,
        copied: error.ee_code == CODE_COPIED,
    })
}
