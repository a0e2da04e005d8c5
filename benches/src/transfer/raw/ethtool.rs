//! Features of a network device: what `ethtool -K` sets, by the same ioctl.

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Updater, ioctl};

/// What a device may do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// `sg`: gather a packet from several pieces of memory.
    ScatterGather,
    /// `tso`: cut a large TCP packet.
    Tso,
    /// `gso`: have the kernel cut it as late as possible.
    Gso,
}

/// `SIOCETHTOOL`.
const ETHTOOL: rustix::ioctl::Opcode = 0x8946;
/// Longest name of a device, with its final zero.
const NAME: usize = 16;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq` with the member that `SIOCETHTOOL` uses.
#[repr(C)]
struct Request {
    name: [u8; NAME],
    value: *mut Value,
    rest: [u8; 16],
}

/// Turns a feature of the device `name`, in the network namespace of `socket`, on or off.
pub fn set_feature(socket: impl AsFd, name: &str, feature: Feature, on: bool) -> io::Result<()> {
    // ETHTOOL_SSG, ETHTOOL_STSO, ETHTOOL_SGSO.
    let command = match feature {
        Feature::ScatterGather => 0x19,
        Feature::Tso => 0x1f,
        Feature::Gso => 0x24,
    };
    let mut value = Value {
        command,
        data: on.into(),
    };
    let mut request = Request {
        name: [0; NAME],
        value: &raw mut value,
        rest: [0; 16],
    };
    if name.len() >= NAME {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the opcode takes a pointer to an `ifreq`, whose pointer is to the value of a command that reads and
    // writes no more than that; both outlive the call.
    unsafe { ioctl(socket, Updater::<ETHTOOL, Request>::new(&mut request))? };
    Ok(())
}
